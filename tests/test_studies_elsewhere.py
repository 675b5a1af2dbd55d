"""Studies of what another machine has measured: their plans, and tables without rows."""

from convcost import records
from convcost.chapters.training_time.study import Study
from convcost.core import paths
from convcost.records import hosts


def test_what_another_machine_has_not_measured_is_tables_without_rows(tmp_path, monkeypatch):
    """The plan of a GPU, drawn where there is none, before it has measured anything."""
    monkeypatch.setattr(paths, "RAW", tmp_path / "raw")
    monkeypatch.setattr(paths, "LOCAL_RESULTS", tmp_path / "runs")
    gpu = hosts.Host(
        "nvidia-h100",
        {"gpu": "NVIDIA H100", "cores_usable": 16, "cpu_flags": []},
        {"02-training-time": {"profile": "gpu", "date": "2026-01-01", "parts": {}}},
    )
    hosts.note(gpu)
    monkeypatch.setenv("CONVCOST_HOST", gpu.name)
    study, run = Study("gpu"), records.start_run("02-training-time", "gpu")
    assert study.host.name == run.machine == gpu.name and study.threads == 16
    assert "nothing is measured by this run" in run.banner()
    for name in ("loop_runs", "training_steps", "full_epochs", "fashion_accuracies", "batch_times",
                 "pipeline_times", "machine_peaks", "layer_costs", "operator_times"):  # fmt: skip
        written = run.write(name, getattr(study, name)())
        assert len(written) == 0
        read = records.read(name, machine=gpu.name, where="local")
        assert list(read.columns) == [*records.TABLES[name].columns, "run_id"]
    assert not (tmp_path / "raw" / "units" / "loops_of").exists() or not list(
        (tmp_path / "raw" / "units").rglob("*.json")
    )


def test_the_parts_are_all_that_a_gpu_measures():
    """Every unit that a table of the notebook asks for is in exactly one part."""
    gpu = hosts.Host("nvidia-h100", {"gpu": "NVIDIA H100", "cores_usable": 16, "cpu_flags": []})
    study = Study("gpu", host=gpu)
    in_parts = [
        unit.key
        for part in study.parts().values()
        for sweep in part.sweeps
        for unit in sweep.found()
    ]
    assert len(in_parts) == len(set(in_parts))
    asked = set()
    for sweep in (
        study._full([*study.scale.full, *study.scale.full_with_workers]),
        *(study._loops_of(study._cases(kind)) for kind in ("main", "protocols", "compiled")),
        *study._per_net, study._peaks, study._pipelines, study._batches, study._accuracies,
    ):  # fmt: skip
        asked |= {unit.key for unit in sweep.found()}
    assert asked == set(in_parts)
