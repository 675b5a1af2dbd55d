"""What notebook 00 shows: the map of the compendium, its claims, its cost in minutes and memory."""

import pandas as pd

from convcost import claims, datasets, records, sources
from convcost.application import notebooks
from convcost.application.profiles import PROFILES
from convcost.chapters.flop_counting import findings as protocols
from convcost.core import machine, registry, units


def notebook_map() -> pd.DataFrame:
    """One row a notebook: its question, whether it is built, its claims and how many are tested."""
    cards, entries = notebooks.cards(), claims.ledger()
    rows = []
    for chapter in registry.chapters():
        name = chapter.notebook
        mine = [entry for entry in entries if entry.notebook == name]
        waiting = sum(entry.verdict == claims.NOT_YET for entry in mine)
        rows.append(
            {
                "notebook": name,
                "question": chapter.question,
                "state": "built" if name in cards else "not built yet",
                "statements": len(mine),
                "claims": len(claims.counted(mine)),
                "with a verdict": len(mine) - waiting,
            }
        )
    return pd.DataFrame(rows)


def effort() -> pd.DataFrame:
    """Minutes and memory of each built notebook, per profile, as its card says.

    And the parts in which `measure` does it on a GPU, each with its minutes, the most valuable
    first.
    """
    return pd.DataFrame(
        [
            {
                "notebook": name,
                **{f"{profile}, min": card.minutes[profile] for profile in PROFILES},
                "RAM, GB": card.ram_gb,
                "data sets": ", ".join(card.datasets) or "none",
                "parts on a GPU, min": gpu_parts(card) or None,
            }
            for name, card in notebooks.cards().items()
        ]
    )


def gpu_parts(card: notebooks.Card) -> str:
    """The parts of a notebook's measurements with their minutes on a GPU, in words; "" for none."""
    return ", ".join(f"{name} {minutes:g}" for name, minutes in card.gpu_parts.items())


def data_sets() -> pd.DataFrame:
    """Every data set and where it is found now; nothing is fetched."""
    return pd.DataFrame(
        [
            {
                "data set": entry["title"],
                "found": entry["found"],
                "where": _where(entry),
                "images": entry["images"],
            }
            for entry in datasets.status()
        ]
    )


def _where(entry: dict) -> str:
    where = entry["where"] or "to be downloaded"
    return f"{where}, damaged: {entry['damaged']}" if entry["damaged"] else where


def verdict_counts() -> pd.DataFrame:
    """Claims per source (rows) and verdict (columns), with totals.

    What cannot be right or wrong is not counted: settings, definitions, history, and what a source
    cites from elsewhere; of two rows that say the same one counts.
    """
    table = claims.table(claims.counted(claims.ledger()))
    table["verdict"] = table["verdict"].map(claims.family)
    counts = table.pivot_table(
        index="source", columns="verdict", values="key", aggfunc="count", fill_value=0
    )
    counts = counts.reindex(columns=[v for v in claims.VERDICTS if v in counts])
    counts["all"] = counts.sum(axis=1)
    counts.loc["all sources"] = counts.sum()
    return counts.reset_index()


def kind_counts() -> pd.DataFrame:
    """Every row of the sources by its kind: one row a source, a column a kind, and the twins."""
    table = claims.table(claims.ledger())
    counts = table.pivot_table(
        index="source", columns="kind", values="key", aggfunc="count", fill_value=0, sort=False
    )
    counts = counts.reindex(columns=list(sources.KINDS), fill_value=0)
    counts["say the same as another"] = table.groupby("source")["same_as"].agg(
        lambda t: (t != "").sum()
    )
    counts.loc["all sources"] = counts.sum()
    return counts.reset_index()


def this_machine() -> pd.DataFrame:
    """The facts of this machine that a result depends on, one a row."""
    facts = machine.describe()
    return pd.DataFrame(
        [
            {"fact": key.removesuffix("_bytes").replace("_", " "), "value": _text(key, value)}
            for key, value in facts.items()
        ]
    )


def _text(key: str, value: object) -> str:
    if value is None:
        return "not available"
    if key.endswith("_bytes"):
        return units.byte_size(value)
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def front_table() -> str:
    """The table of the README, as Markdown, from the reference's results.

    A row of Cheng & Liu's Table 1 each: what is printed, the plain count of the net, what the one
    protocol that fits most rows prints, and the verdict.
    """
    results = records.Results()
    totals = results.table("protocol_totals")
    common = protocols.agreement_of_one_protocol(totals).iloc[0]
    plain = protocols.plain_against_printed(results.table("net_counts")).set_index("net")
    candidates = protocols.with_printed(totals)
    entries = {entry.key: entry for entry in claims.ledger(source="cheng2025", notebook="01")}
    lines = [
        "| net | the paper prints | plain count, 2 per multiply-add | under the protocol found |"
        " verdict |",
        "|---|---|---|---|---|",
    ]
    for row, label in protocols.TABLE1_ROWS.items():
        net = common[row]
        mine = candidates[(candidates["row"] == row) & (candidates["net"] == net)]
        text = mine[(mine[protocols.PROTOCOL] == common[protocols.PROTOCOL]).all(axis=1)]["text"]
        name = label if net == label.lower() else f"{label} ({net})"
        lines.append(
            f"| {name} | {sources.printed_text('cheng2025', row)} G | "
            f"{plain.loc[net, 'gflops']:.3f} G | {text.item()} G | "
            f"{claims.family(entries[f'cheng2025/{row}'].verdict)} |"
        )
    return "\n".join(lines)
