"""Dask and Ray as executors: values, the objective's own exceptions, workers that die."""

import pytest

import bo
from bo.engines import Dask, Ray

SPACE = {"x": bo.real(0, 1)}


@pytest.fixture(scope="module")
def dask():
    """A cluster with a process to spare for each that is started anew after a crash."""
    distributed = pytest.importorskip("distributed", reason="pip install 'wald[dask]'")
    with (
        distributed.LocalCluster(
            n_workers=4, threads_per_worker=1, dashboard_address=None, memory_limit=0
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield Dask(client)


@pytest.fixture(scope="module")
def ray():
    """A cluster on this machine."""
    library = pytest.importorskip("ray", reason="pip install 'wald[ray]'")
    library.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield Ray()
    library.shutdown()


@pytest.fixture(params=["dask", "ray"])
def executor(request):
    """Each engine in turn."""
    return request.getfixturevalue(request.param)


def awkward(marks):
    """An objective of which trial 1 raises, trial 2 dies always, trial 5 dies once."""

    def objective(parameters, trial):
        import os
        import time

        if trial.number == 1:
            raise LookupError("no data")
        if trial.number == 2:
            with open(os.path.join(marks, f"2-{trial.attempt}"), "w"):
                os._exit(3)
        if trial.number == 5 and trial.attempt == 1:
            os._exit(3)
        time.sleep(0.2)
        return parameters["x"]

    return objective


@pytest.mark.filterwarnings("ignore")
def test_a_crash_costs_its_own_trial_and_is_tried_once_more(executor, tmp_path):
    study = bo.Study(SPACE, method="sobol", seed=0)
    study.run(awkward(str(tmp_path)), 7, parallel=2, executor=executor, callback=lambda _: None)
    trials = study.trials
    assert [trial.state for trial in trials] == ["complete", "failed", "failed", *["complete"] * 4]
    assert trials[1].reason == "LookupError: no data"
    assert trials[1].attempt == 1
    assert "in objective" in (trials[1].traceback or "")
    assert (trials[1].traceback or "").rstrip().endswith("LookupError: no data")
    assert trials[2].reason is not None
    assert trials[2].reason.startswith("WorkerDied: the worker process died")
    assert trials[2].attempt == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2-1", "2-2"]
    assert trials[5].attempt == 2
    for trial in trials[3:]:
        assert trial.values["value"] == trial.parameters["x"]
