"""Figures that need published values beside the results: joins the two, then draws."""

import pandas as pd

from convcost import protocols, sources
from convcost.figures import counting
from convcost.records import Results

PAPER_EQUATIONS = ("atsumi-eq1", "ke-eq1", "cheng-eqs")


def table1(results: Results):
    """`counting.table1` of Cheng & Liu's five values."""
    table = results.table("protocol_totals")
    totals = protocols.with_printed(table)
    best = protocols.agreement_of_one_protocol(table).iloc[0][protocols.PROTOCOL]
    totals["common"] = (totals[protocols.PROTOCOL] == best).all(axis=1)
    rows = [
        {
            "row": name,
            "label": label,
            "gflops": float(sources.value("cheng2025", name)),
            "text": sources.printed_text("cheng2025", name),
        }
        for name, label in protocols.TABLE1_ROWS.items()
    ]
    return counting.table1(totals, pd.DataFrame(rows))


def lenet_multiplications(results: Results):
    """`counting.lenet_multiplications` with the three values that Atsumi et al. print."""
    printed = pd.DataFrame(
        [
            {"layer": layer, "multiplications": sources.value("atsumi2020", name)}
            for layer, name in protocols.ATSUMI_PRINTED.items()
        ]
    )
    return counting.lenet_multiplications(results.table("lenet_multiplications"), printed)


def tool_conventions(results: Results):
    """`counting.conventions` of the tools, without the papers' own equations."""
    totals = results.table("convention_totals")
    return counting.conventions(totals[~totals["convention"].isin(PAPER_EQUATIONS)])
