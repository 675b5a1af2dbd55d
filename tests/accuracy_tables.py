"""Tables of notebook 05 for its figures: those of the reference, or the first of them."""

from convcost import figures, records

FEW_NETS = 12


def tables(thin: bool = False) -> dict:
    """Every table that a figure of notebook 05 takes; `thin`: of few nets, one seed, one batch."""
    names = {
        table
        for name, spec in figures.FIGURES.items()
        if name.startswith("05-")
        for table in spec.tables
    }
    found = {name: records.read(name).drop(columns="run_id") for name in sorted(names)}
    if thin:
        some = found["known_net_times"]["net"].drop_duplicates().head(FEW_NETS)
        for name in ("known_net_times", "own_predictions"):
            found[name] = found[name][found[name]["net"].isin(some)]
        found["separable_trainings"] = found["separable_trainings"].query("seed < 2 and epoch < 4")
        found["table_scores"] = found["table_scores"].query("table.str.startswith('pycls')")
        found["transfer_scores"] = found["transfer_scores"].query("device == 'rtx3090'")
    return found
