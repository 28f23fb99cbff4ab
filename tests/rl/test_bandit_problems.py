"""Bandit problems: what they promise of rewards and contexts, and files that are refused."""

import gzip
import os
from pathlib import Path

import pytest
import torch

from rl.environments import bernoulli, csv_file, digits, gaussian, linear
from surrogates.errors import UsageError
from surrogates.options import build

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[2]


def given(options, **values):
    return build(options, values, owner="the test")


def generator(seed):
    return torch.Generator(device="cpu").manual_seed(seed)


def same(outcome, other):
    return torch.equal(outcome.rewards, other.rewards)


SIMULATORS = {
    "bernoulli": lambda seed: bernoulli.problem("bernoulli", given(bernoulli.Options), seed, CPU),
    "gaussian": lambda seed: gaussian.problem("gaussian", given(gaussian.Options), seed, CPU),
    "linear": lambda seed: linear.problem("linear", given(linear.Options), seed, CPU),
    "linear shared": lambda seed: linear.problem(
        "linear", given(linear.Options, shared=True), seed, CPU
    ),
    "digits": lambda seed: digits.problem("digits", given(digits.Options), seed, CPU),
}


@pytest.mark.parametrize("name", SIMULATORS)
def test_mean_reward_is_the_expected_one(name):
    problem = SIMULATORS[name](3)
    contexts = problem.contexts(1, generator=generator(0))
    if name != "digits":  # its rewards belong to the row that was drawn
        contexts = contexts.expand(40_000, -1, -1)
    b = len(contexts)
    for arm in range(3):
        arms = torch.full((b,), arm, dtype=torch.int64)
        outcome = problem.pull(contexts, arms, generator=generator(arm))
        assert outcome.expected is not None
        assert outcome.best is not None
        error = float(outcome.rewards.mean() - outcome.expected.mean())
        assert abs(error) < 0.02
        assert bool((outcome.best >= outcome.expected).all())


@pytest.mark.parametrize("name", SIMULATORS)
def test_noise_stream_does_not_depend_on_the_arm(name):
    problem = SIMULATORS[name](3)
    contexts = problem.contexts(7, generator=generator(0))
    states = []
    for arm in (0, 2):
        g = generator(5)
        problem.pull(contexts, torch.full((7,), arm, dtype=torch.int64), generator=g)
        states.append(g.get_state())
    assert torch.equal(*states)


@pytest.mark.parametrize("name", ["bernoulli", "gaussian", "linear"])
def test_the_instance_comes_from_the_seed(name):
    arms = torch.arange(10)
    expected = []
    for seed in (1, 1, 2):
        problem = SIMULATORS[name](seed)
        contexts = problem.contexts(10, generator=generator(0))
        expected.append(problem.pull(contexts, arms, generator=generator(0)).expected)
    assert torch.equal(expected[0], expected[1])
    assert not torch.equal(expected[0], expected[2])


def test_gaps_are_as_asked():
    problem = bernoulli.problem(
        "bernoulli", given(bernoulli.Options, means="gap", best=0.5, gap=0.2, arms=4), 1, CPU
    )
    assert sorted(problem.means.tolist()) == pytest.approx([0.3, 0.3, 0.3, 0.5])
    problem = gaussian.problem(
        "gaussian", given(gaussian.Options, means="gap", gap=2.0, arms=3), 1, CPU
    )
    assert sorted(problem.means.tolist()) == [0.0, 0.0, 2.0]
    with pytest.raises(UsageError, match="at most best"):
        bernoulli.problem(
            "bernoulli", given(bernoulli.Options, means="gap", best=0.1, gap=0.2), 1, CPU
        )


def test_digits_pay_the_right_label():
    problem = digits.problem("digits", given(digits.Options), 0, CPU)
    contexts = problem.contexts(500, generator=generator(1))
    assert contexts.shape == (500, 10, 64)
    assert float(contexts.max()) == 1.0
    rewards = [
        problem.pull(contexts, torch.full((500,), arm), generator=generator(0)).rewards
        for arm in range(10)
    ]
    assert torch.equal(torch.stack(rewards).sum(0), torch.ones(500, dtype=torch.float64))


def write(folder, text, name="data.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return f"csv:{path}"


def load(name, **options):
    return csv_file.problem(name, given(csv_file.Options, **options), 0, CPU)


def test_csv_columns_are_encoded(tmp_path):
    text = 'a,b,c,k\n1,?,same,x\n3,u,same,y\n,"u",same,x\n5,?,same,y\n'
    problem = load(write(tmp_path, text))
    assert problem.labels == ["x", "y"]
    assert problem.arms.d == 3  # a; b is '?'; b is 'u'; c is constant
    rows = {
        tuple(round(value, 6) for value in row)
        for row in problem.contexts(200, generator=generator(0))[:, 0].tolist()
    }
    scale = 2**0.5
    expected = {(-2 / scale, 1, 0), (0, 0, 1), (2 / scale, 1, 0)}
    assert rows == {tuple(round(value, 6) for value in row) for row in expected}


def test_csv_label_by_name(tmp_path):
    name = write(tmp_path, "kind,a\nx,1\ny,2\nx,3\n")
    assert load(name, label="kind").labels == ["x", "y"]
    with pytest.raises(UsageError, match="did you mean 'kind'"):
        load(name, label="knd")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "header and at least two rows"),
        ("a,b\n1,x\n", "at least two rows"),
        ("a,b\n1,x\n2\n", "got 1 in data row 2"),
        ("a,b\n1,x\n2,y,z\n", "got 3 in data row 2"),
        ('a,b\n1,"x\n2,y\n', "readable CSV"),
        ("a,a\n1,x\n2,y\n", "'a' twice"),
        ("a,b\n1,x\n2,x\n", "at least 2 labels"),
        ("a,b\n1,x\n2,\n", "empty 'b' in data row 2"),
        ("a,b\n" + "".join(f"{i},{i}\n" for i in range(201)), "at most 200 labels"),
        ("a,b\n" + "".join(f"n{i},{i % 2}\n" for i in range(2001)), "2001 levels"),
        ("a,b\n1,x\n1,y\n", "varies besides the label"),
    ],
)
def test_bad_csv_is_refused(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        load(write(tmp_path, text))


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        load(f"csv:{tmp_path / 'absent.csv'}")
    with pytest.raises(UsageError, match="readable CSV"):
        load(write(tmp_path, "not gzip", "data.csv.gz"))
    whole = gzip.compress(b"a,b\n" + b"1,x\n2,y\n" * 10_000)
    (tmp_path / "cut.csv.gz").write_bytes(whole[:60])
    with pytest.raises(UsageError, match="readable CSV"):
        load(f"csv:{tmp_path / 'cut.csv.gz'}")
    (tmp_path / "latin.csv").write_bytes("a,b\n1,\xe9\n2,y\n".encode("latin-1"))
    with pytest.raises(UsageError, match="readable CSV"):
        load(f"csv:{tmp_path / 'latin.csv'}")


@pytest.mark.parametrize(
    ("file", "label", "d", "labels"),
    [
        ("mushroom.csv.gz", "class", 116, 2),
        ("covertype_20k.csv.gz", "", None, 7),
        ("adult.csv.gz", "income", None, 2),
    ],
)
def test_real_data(file, label, d, labels):
    folder = Path(os.environ.get("WALD_DATA") or ROOT.parent / "shared" / "data") / "bandits"
    if not (folder / file).is_file():
        pytest.skip(f"{file} is not under the folder of WALD_DATA: set that variable to run this")
    problem = load(f"csv:{folder / file}", label=label)
    assert problem.arms.count == labels
    if d is not None:  # 117 levels, one of them (veil-type p) constant
        assert problem.arms.d == d
    contexts = problem.contexts(200, generator=generator(0))
    assert bool(contexts.isfinite().all())
