"""Tables of notebook 05: known nets, the time of nets here, the separable block, predictions."""

from convcost.chapters.accuracy_and_run_time.tables import known, prediction, separable
from convcost.records.schema import Table

TABLES: dict[str, Table] = known.TABLES | separable.TABLES | prediction.TABLES
