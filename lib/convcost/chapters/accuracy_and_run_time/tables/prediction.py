"""Nets on the clock here, and how well times are predicted."""

from convcost.records.schema import NET, Column, Table, count, text

TABLES: dict[str, Table] = {
    "known_net_times": Table(
        "one repetition of one net of torchvision on this machine",
        ("net", "input_px", "what", "batch", "repetition"),
        {
            "net": NET,
            "input_px": count("side of the square input"),
            "what": text("inference or training (a step: forward, backward, optimiser)"),
            "batch": count("images in a batch"),
            "repetition": count("number of the repetition, from 0"),
            "calls": count("passes or steps in one repetition"),
            "seconds": Column("float", "wall-clock seconds of all these calls together", 0),
            "stable": Column("bool", "whether load and drift stayed below their limits"),
        },
    ),
}
