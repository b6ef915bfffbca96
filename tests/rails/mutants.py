"""Faults planted in the code one at a time, each of which the tests named beside it must notice.

    uv run python -m tests.rails.mutants              all of them: some minutes on one core
    uv run python -m tests.rails.mutants --only NAME  one (may be repeated)
    uv run python -m tests.rails.mutants --list       what there is

A refactoring moves code, and a test that has moved with it may pass while it no longer tests anything. So what the
project promises is broken here in small ways: each mutant replaces one snippet, wherever in ``hiltk/`` it now stands.
A snippet that is not found, or more than once, counts as a failure: find the line that now keeps the promise and write
it down as ``old``. Do not drop a mutant because its line is gone; drop it when the promise is.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("hiltk", "tests", "conf", "pipelines", "pyproject.toml", "README.md")
TIME_LIMIT_S, TIME_LIMIT_ALL_S = 180, 1200  # for the tests of one mutant, and for those of all; machines are shared
TESTS_FAILED = 1  # pytest's exit code; any other that is not 0 means that they could not be run
OTHER_CODE = 99  # the tests imported something else than the copy
# Tests start in processes that have the large libraries loaded: importing them takes longer than most tests.
PROCESSES = multiprocessing.get_context("forkserver")
PRELOADED = ["pytest", "torch", "torchvision", "mujoco", "mink", "cv2", "pandas", "pyarrow", "gymnasium", "scipy.stats"]
PROCESSES.set_forkserver_preload(PRELOADED)


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes:
        name: says what is wrong with the mutant.
        old: the code to replace. White space, line breaks and a comma before a closing bracket do not matter.
        new: what to put there; on one line, so that its indentation does not matter either.
        tests: paths below ``tests/``, with the test's name where the file takes long.
        after: code that must stand right before ``old``, where ``old`` alone is not unique; it is kept.
    """

    name: str
    old: str
    new: str
    tests: tuple[str, ...]
    after: str = ""


def _m(name: str, old: str, new: str, *tests: str, after: str = "") -> Mutant:
    return Mutant(name, old, new, tests, after)


REPLAY, SAC, DRQ = "data/test_replay.py", "agents/test_sac.py", "agents/test_drqv2.py"
REPAIR, REWARDS, LOOP = "data/test_repair.py", "envs/test_rewards.py", "learning/test_loop.py"
SIM, GUARDS, SCHEDULES = "envs/test_so101_sim.py", "learning/test_guards.py", "humans/test_schedules.py"
RULE, INTERVALS = "test_reward_rule.py", "test_intervals.py"
PLANTED = "faults/test_planted.py::test_what_is_promised_is_detected"

MUTANTS = [
    # ------------------------------------------------------------ replay
    _m("next state is the state itself", "self._stacked(last + 1, stack, copy)", "self._stacked(last, stack, copy)",
       REPLAY),
    _m("n-step sums run into the next episode", "& self.moves[row % self.size] & (self._human(row) == human)",
       "& (self._human(row) == human)", REPLAY),
    _m("n-step sums run on where a human takes over",
       "& self.moves[row % self.size] & (self._human(row) == human)", "& self.moves[row % self.size]", REPLAY),
    _m("values bootstrap through a terminal step", "factor * ~self.terminated[last % self.size]", "factor", REPLAY),
    _m("overwritten rows are still drawn", "max(0, self.end - self.capacity)", "max(0, self.end - self.size - 1)",
       REPLAY),
    _m("corrections do not enter their view", "if is_intervention: self._corrections.append(self.end - 1)",
       "if not valid: self._corrections.append(self.end - 1)", REPLAY),
    _m("the loop does not mark corrections", "is_intervention=source is Source.human", "is_intervention=False",
       f"{LOOP}::test_corrections_enter_their_view_and_the_policys_steps_do_not"),
    _m("what was asked for is stored instead of what was executed", 'info.get("executed_action", action)', "action",
       f"{LOOP}::test_what_was_executed_is_stored_and_not_what_was_asked_for", after="self.store.add("),
    _m("half the share of demonstrations", "round(size * demo_fraction) if len(online) else size",
       "round(size * demo_fraction / 2) if len(online) else size", REPLAY),
    # ------------------------------------------------------------ SAC and DrQ-v2
    _m("SAC's target is not discounted", "target = batch.reward + batch.discount * value",
       "target = batch.reward + value", SAC),
    _m("SAC's target takes the largest critic", "value = q.min(dim=0).values", "value = q.max(dim=0).values", SAC),
    _m("SAC's target is not clipped",
       "return target.clamp(self.q_low, self.q_high) if self.conf.clip_target else target", "return target", SAC,
       after="target = torch.maximum(target, batch.returns)"),
    _m("the bound of Q is twice what can be paid", "return min(values), max(values)",
       "return min(values), 2 * max(values)", SAC),
    _m("the actor is punished for entropy", "loss = (alpha * log_prob - value).mean()",
       "loss = (-alpha * log_prob - value).mean()", SAC),
    _m("the actor minimises Q", "loss = (alpha * log_prob - value).mean()",
       "loss = (alpha * log_prob + value).mean()", SAC),
    _m("alpha runs away from the target entropy", "self.log_alpha.exp() * (log_prob + self.target_entropy)",
       "self.log_alpha.exp() * (log_prob - self.target_entropy)", SAC),
    _m("targets follow with 1 - tau", "torch._foreach_lerp_(target, online, self.conf.tau)",
       "torch._foreach_lerp_(target, online, 1 - self.conf.tau)", SAC, DRQ),
    _m("the policy imitates itself", "rows = batch.human", "rows = batch.human | True", SAC),
    _m("squashing does not count in the likelihood", "return (gaussian - jacobian).sum(-1)",
       "return gaussian.sum(-1)", "agents/test_networks.py"),
    _m("DrQ-v2's target action has no noise",
       "truncated_noise(self.policy.actor.mode(following), self.policy.std, self.conf.noise_clip)",
       "self.policy.actor.mode(following)", DRQ),
    _m("the noise schedule stands still", "self.std.fill_(self.schedule(env_step))", "self.std.fill_(self.schedule(0))",
       DRQ),
    _m("single instead of double DQN", "best = online.argmax(dim=-1, keepdim=True)",
       "best = target.argmax(dim=-1, keepdim=True)", SAC),
    _m("cloning trains on the episodes that it holds out", "store = store_episodes([episodes[i] for i in train])",
       "store = store_episodes(episodes)", "steps/test_bc_pretrain.py"),
    _m("cloning fits the mean before the tanh", "F.mse_loss(self.policy.actor.mode(features), action)",
       "F.mse_loss(self.policy.actor(features)[0], action)", "agents/test_bc.py"),
    # ------------------------------------------------------------ what networks see
    _m("random shifts never reach the last offset", "rng.integers(0, 2 * pad + 1, size=(2, len(frames))) - pad",
       "rng.integers(0, 2 * pad, size=(2, len(frames))) - pad", "test_images.py"),
    _m("images are scaled by 256", "return 255.0 if frames.dtype == torch.uint8 else 1.0",
       "return 256.0 if frames.dtype == torch.uint8 else 1.0", "agents/test_encoders.py"),
    _m("no floor below the spread of a state", "np.maximum(values.std(0), floors(values, dims))",
       "np.maximum(values.std(0), 1e-8)", "data/test_statistics.py"),
    # ------------------------------------------------------------ the arm
    _m("radians are taken for degrees", "radians = np.deg2rad(joints)", "radians = 1.0 * joints",
       "arm/test_units.py"),
    _m("the gripper's percentages are taken for parts of one", "joints[..., ARM_JOINTS] / 100 * GRIPPER_SPAN_RAD",
       "joints[..., ARM_JOINTS] * GRIPPER_SPAN_RAD", "arm/test_units.py"),
    _m("forward kinematics turns the joints the other way", "cross = np.cross(np.eye(3), axis)",
       "cross = np.cross(axis, np.eye(3))", "arm/test_chain.py"),
    _m("an action is executed at half its scale", "self.target + action[:3] * self.conf.action_scale_m, self",
       "self.target + action[:3] * self.conf.action_scale_m / 2, self", SIM),
    _m("actions beyond [-1, 1] are executed", "np.abs(given).max() > 1 + ACTION_SLACK",
       "np.abs(given).max() > 100 + ACTION_SLACK", SIM),
    _m("+1 closes the gripper", "self.joints_deg[5] + float(action[-1]) * self.conf.gripper_step",
       "self.joints_deg[5] - float(action[-1]) * self.conf.gripper_step", SIM),
    # ------------------------------------------------------------ repair
    _m("rebuilt actions leave [-1, 1]", "np.clip(np.where(valid[:, None], raw, 0), -1, 1)",
       "np.where(valid[:, None], raw, 0)", REPAIR),
    _m("actions across missing frames count as known",
       "~last_rows(episode) if known is None else ~last_rows(episode) & known", "~last_rows(episode)", REPAIR),
    _m("the step out of a frozen state is not masked", "frozen[start : jump + 1] = True",
       "frozen[start : jump] = True", REPAIR),
    _m("zero actions explain motion",
       "(np.abs(np.nan_to_num(actions[:, :columns])).max(1, initial=0) < zero_below)",
       "(np.abs(np.nan_to_num(actions[:, :columns])).max(1, initial=0) < -zero_below)", REPAIR),
    _m("missing actions are not broken", "bool(missing.any()) or share > BROKEN_SHARE", "share > BROKEN_SHARE", REPAIR),
    _m("lost actions of a takeover hide behind the policy's", "for among in (human, ~human):",
       "for among in (human | ~human,):", REPAIR),
    _m("a slow close counts as holding", "(way * (total >= threshold - 1e-9)[stretch])[:, None]",
       "(way * (np.abs(moved[:, 0]) >= threshold))[:, None]", REPAIR),
    _m("labelled ranges leave out their last frame", "success[start + m.first : start + m.last + 1] =",
       "success[start + m.first : start + m.last] =", "data/test_labels.py"),
    # ------------------------------------------------------------ the reward rule
    _m("positive frames need not follow each other", "self.run = self.run + 1 if positive else 0",
       "self.run = self.run + positive", RULE),
    _m("success is paid in every frame it holds", "self.needed, self.earliest)) and not self.held",
       "self.needed, self.earliest))", RULE, REWARDS),
    _m("success counts one step too early", "(run >= needed) & (step >= earliest)",
       "(run >= needed) & (step >= earliest - 1)", RULE),
    _m("a probability at the threshold is none", "return probability >= threshold", "return probability > threshold",
       RULE, REWARDS),
    _m("a time-out always counts as an end", 'if timeout and rule.timeout == "terminal"', "if timeout", RULE, REWARDS),
    _m("a success is paid at the first step", "rewards[-1:] = step_reward(rule, success=success)",
       "rewards[:1] = step_reward(rule, success=success)", RULE, "data/test_labels.py"),
    # ------------------------------------------------------------ the classifier
    _m("probabilities without temperature", "sigmoid(logits.double().cpu().numpy() / self.temperature)",
       "sigmoid(logits.double().cpu().numpy())", "rewards/test_classifier.py"),
    _m("calibration never softens", "return 1.0 if result.x < 1e-3 else float(np.exp(result.x))", "return 1.0",
       "rewards/test_calibration.py"),
    _m("held-out episodes of the classifier are trained on",
       "Split(np.setdiff1d(np.arange(len(episodes)), held_out), held_out)",
       "Split(np.arange(len(episodes)), held_out)", "rewards/test_frames.py"),
    _m("held-out episodes of cloning are trained on", "return np.flatnonzero(~held).tolist(), np",
       "return list(range(count)), np", "steps/test_common.py"),
    # ------------------------------------------------------------ evaluation
    _m("another interval than Wilson's",
       'binomtest(int(count), int(n)).proportion_ci(confidence_level=CONFIDENCE, method="wilson")',
       'binomtest(int(count), int(n)).proportion_ci(confidence_level=CONFIDENCE, method="exact")',
       INTERVALS),
    _m("an interval over seeds that pools their episodes", "max(0.0, min(low, lowest))", "seeds and wilson("
       "sum(s.count for s in seeds), sum(s.n for s in seeds)).low", INTERVALS),
    _m("ten sound trainings promise too much", "CORRELATION_PRIOR = (0.5, 6.0)", "CORRELATION_PRIOR = (0.5, 600.0)",
       INTERVALS),
    _m("evaluation draws the seeds of training", "EVALUATION_SEEDS_FROM = 2**32", "EVALUATION_SEEDS_FROM = 0",
       "evaluation/test_seeds.py"),
    # ------------------------------------------------------------ interventions
    _m("a good policy is helped as often", "max(self.conf.alone, self.success_rate)", "self.conf.alone", SCHEDULES),
    _m("one lucky episode silences the human", "sum(alone) / max(len(alone), min(LEAST, self.conf.window))",
       "sum(alone) / max(len(alone), 1)", SCHEDULES),
    _m("episodes with a human at hand count", "if self._alone and success is not None else None", "", SCHEDULES),
    _m("a run ends by what it did with help", 'if row.get("left_alone", 0.0) > 0]', "]", "learning/test_until.py"),
    _m("the guess is of all that was before", "recent: deque[bool] = deque(maxlen=WINDOW) logs, log",
       "recent: deque[bool] = deque(); logs, log", "learning/test_until.py"),
    _m("the luckiest weights are taken", "return self.p_value < LEVEL", "return self.p_value < 1",
       "learning/test_best.py"),
    _m("takeovers never end by themselves", "satisfied or step - self._since >= self.conf.max_steps",
       "step - self._since >= self.conf.max_steps", SCHEDULES),
    # ------------------------------------------------------------ guards
    _m("Q may leave its bounds", "not limits.beyond(v, low, high) <= limits.Q_BEYOND.alarm",
       "not limits.beyond(v, low, high) <= 9.0", GUARDS),
    _m("saturation is never seen", "min(values) < limits.SATURATED.alarm", "min(values) < 1.01", GUARDS),
    _m("help that stays as much passes", "late < max(early, limits.STILL_HELPED)", "True", GUARDS),
    _m("long takeovers pass", "min(values) <= limits.TAKEN_OVER.alarm", "min(values) <= 0.95", GUARDS),
    # ------------------------------------------------------------ checks
    _m("turned actions pass", "LEAST_FIT, MOST_YAW_DEG = 0.7, 45.0", "LEAST_FIT, MOST_YAW_DEG = -1.0, 200.0",
       f"{PLANTED}[ACT004-simulator_frame]"),
    _m("a gripper that closes at +1 passes", "MOST_SILENT, LEAST_AGREEMENT = 0.3, 0.5",
       "MOST_SILENT, LEAST_AGREEMENT = 0.3, -2.0", f"{PLANTED}[GRP002-inverted]"),
    _m("a robot that does not answer passes", "RATIO = (0.5, 2.0)", "RATIO = (-9.0, 9.0)", "faults/test_driving.py"),
    _m("rewards that flicker earns more of pass",
       "self.best > self.finishing + slack or self.flickering >= self.finishing - slack", "False",
       "rewards/test_hacking.py"),
    # ------------------------------------------------------------ artifacts
    _m("an artifact appears in pieces", "draft.path.rename(folder / version)",
       "shutil.copytree(draft.path, folder / version)", "artifacts/test_writing.py"),
    _m("every artifact is version 1", "int(last[-1].split('-')[1]) + 1 if last else 1", "1",
       "artifacts/test_writing.py"),
    _m("a fingerprint does not look into files", "file.stat().st_size, hash_file(file)]", "file.stat().st_size]",
       "artifacts/test_fingerprint.py"),
    _m("code has one fingerprint whatever it says", "hashlib.sha256(ast.dump(tree).encode())", "hashlib.sha256()",
       "artifacts/test_fingerprint.py"),
    _m("the number of threads reruns a step", "{k: v for k, v in config.items() if k not in VOLATILE}", "config",
       "artifacts/test_provenance.py"),
    _m("an input counts by its name", "_set(config, key, [_content(name, reference, root) for name in names])",
       "_set(config, key, names)", "artifacts/test_provenance.py"),
    _m("edited artifacts count as unchanged", 'not record.get("interrupted") and newest.is_intact()',
       'not record.get("interrupted")', "orchestration/test_execute.py::test_a_tampered_artifact_is_made_anew"),
    _m("specs that differ fit together", "if not _only_describes(d.path) and not _unknown(d, left, right)",
       "if False", "test_spec.py"),
    _m("a resumed run may have other settings", "not in free and before.get(key) != after.get(key)",
       "not in free and False", "artifacts/test_writing.py"),
    # ------------------------------------------------------------ the command line
    _m("config mistakes exit as bad input", "exit_code = 2", "exit_code = 1",
       "test_cli.py::test_a_mistake_is_one_message_and_exit_code_2"),
    _m("a check with errors exits with 0", "raise typer.Exit(1)", "raise typer.Exit(0)",
       "checks/test_check_command.py::test_a_broken_one", after="ignore=ignore or [], as_json=as_json):"),
    # ------------------------------------------------------------ resuming
    _m("a resumed run draws other batches", 'self.sampler.rng.bit_generator.state = state["sampler_rng"]', "pass",
       f"{LOOP}::test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit"),
    _m("a resumed run forgets its schedule", 'self.schedule.load_state_dict(state["schedule"])', "pass",
       f"{LOOP}::test_a_resumed_run_owes_the_same_updates_and_takes_over_as_rarely"),
    _m("a resumed run forgets the updates it owes", 'self.debt, self.wall_s = state["debt"], state["wall_s"]',
       'self.wall_s = state["wall_s"]',
       f"{LOOP}::test_a_resumed_run_owes_the_same_updates_and_takes_over_as_rarely"),
    _m("an action along one axis asks for nothing", "nan_to_num(actions[:, :columns])).max(1, initial=0)",
       "nan_to_num(actions[:, :columns])).min(1, initial=9)", "data/test_repair.py"),
    _m("a resumed run draws other actions", 'torch.set_rng_state(state["torch_rng"])', "pass",
       f"{LOOP}::test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit"),
    _m("a resumed run keeps rows of the future", 'self.end, self._episode = state["end"], state["episode"]',
       'self._episode = state["episode"]', REPLAY),
]  # fmt: skip


# ---------------------------------------------------------------- finding


@dataclass(frozen=True)
class Place:
    """Where a snippet stands: the file and the characters ``start`` to ``stop``."""

    file: Path
    start: int
    stop: int


def sources(root: Path) -> dict[Path, str]:
    """The text of every module of ``hiltk`` below ``root``."""
    return {p: p.read_text(encoding="utf-8") for p in sorted((root / "hiltk").rglob("*.py"))}


def places(mutant: Mutant, texts: dict[Path, str]) -> list[Place]:
    """Everywhere that ``old`` stands (after ``after``); one place where all is well."""
    before = rf"{_pattern(mutant.after)}\s*" if mutant.after else ""
    pattern = re.compile(f"{before}(?P<old>{_pattern(mutant.old)})")
    word = max(re.findall(r"\w+", mutant.old), key=len)  # most files do not have it, and are quickly told apart
    return [
        Place(file, *found.span("old"))
        for file, text in texts.items()
        if word in text
        for found in pattern.finditer(text)
    ]


def _pattern(code: str) -> str:
    """A regular expression for ``code`` in whatever way it is broken into lines."""
    words = re.findall(r"\w+|[^\w\s]", code)
    out = r"(?<!\w)" if words[0][0].isidentifier() else ""
    for left, right in zip(["", *words], words, strict=False):
        if right in (")", "]", "}") and left:
            out += r"(?:\s*,)?\s*"
        elif left:
            out += r"\s+" if re.fullmatch(r"\w", left[-1]) and re.fullmatch(r"\w", right[0]) else r"\s*"
        out += re.escape(right)
    return out + (r"(?!\w)" if re.fullmatch(r"\w", words[-1][-1]) else "")


def applied(mutant: Mutant, place: Place, text: str) -> str:
    """The text of the mutant's file with the fault in it."""
    return text[: place.start] + mutant.new + text[place.stop :]


def line_of(place: Place, text: str) -> int:
    return text.count("\n", 0, place.start) + 1


# ---------------------------------------------------------------- running


class Copy:
    """A copy of the checkout in which faults are planted; the checkout itself is never touched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "pytest.log"
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.is_file():
                shutil.copy2(source, folder / name)

    def run(self, tests: tuple[str, ...], limit_s: float) -> int | None:
        """The exit code of pytest; None when it took too long."""
        process = PROCESSES.Process(target=_pytest, args=(self.folder, self.log, [f"tests/{t}" for t in tests]))
        process.start()
        process.join(limit_s)
        if process.exitcode is None:
            os.killpg(process.pid or 0, signal.SIGKILL)
            process.join()
            return None
        return process.exitcode


def _pytest(folder: Path, log: Path, tests: list[str]) -> None:
    """Run tests in the copy and exit with pytest's code, or with `OTHER_CODE` if they were not about the copy."""
    os.setsid()
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os.dup2(1, 2)
    os.chdir(folder)
    for name in [n for n in sys.modules if n.partition(".")[0] in ("hiltk", "tests")]:
        del sys.modules[name]
    # The installed package is the checkout: the copy must come before it, here and in whatever the tests start.
    sys.path[:] = [str(folder), *(p for p in sys.path if p and Path(p).resolve() != ROOT)]
    os.environ["PYTHONPATH"] = str(folder)
    import pytest

    code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))
    modules = [m for n, m in sys.modules.items() if n.partition(".")[0] in ("hiltk", "tests")]
    files = [Path(m.__file__) for m in modules if getattr(m, "__file__", None)]
    sys.exit(code if files and all(f.is_relative_to(folder) for f in files) else OTHER_CODE)


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant; ``verdict`` is ``killed`` where all is well."""

    name: str
    where: str
    verdict: str
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        return self.verdict == "killed"

    def __str__(self) -> str:
        return f"{self.name:58} {self.where:40} {self.verdict:12} {self.seconds:6.1f}"


def try_out(mutant: Mutant, copy: Copy) -> Outcome:
    """Plant one fault, run its tests, and take the fault out again."""
    texts = sources(copy.folder)
    found = places(mutant, texts)
    if len(found) != 1:
        listed = ", ".join(f"{p.file.relative_to(copy.folder)}:{line_of(p, texts[p.file])}" for p in found)
        return Outcome(mutant.name, listed or "-", f"NOT {'ONCE' if found else 'FOUND'}: re-anchor it")
    (place,) = found
    where = f"{place.file.relative_to(copy.folder)}:{line_of(place, texts[place.file])}"
    started = time.monotonic()
    place.file.write_text(applied(mutant, place, texts[place.file]), encoding="utf-8")
    try:
        code = copy.run(mutant.tests, TIME_LIMIT_S)
    finally:  # with its old time stamp, so that no compiled file of the mutant is taken for it
        shutil.copy2(ROOT / place.file.relative_to(copy.folder), place.file)
    return Outcome(mutant.name, where, _verdict(code), time.monotonic() - started)


def _verdict(code: int | None) -> str:
    if code is None:
        return "TOO LONG"
    known = {0: "SURVIVED", TESTS_FAILED: "killed", OTHER_CODE: "NOT RUN: tests import another copy"}
    return known.get(code, f"NOT RUN: pytest exits with {code}")


def chosen(names: list[str]) -> list[Mutant]:
    """The mutants of these names; all where none is given."""
    known = {m.name: m for m in MUTANTS}
    for name in names:
        if name not in known:
            raise SystemExit(f"there is no mutant '{name}'; --list shows them")
    return [known[name] for name in names] or MUTANTS


def main() -> int:
    parser = argparse.ArgumentParser(description="Plant faults one at a time; 1 where the tests miss one.")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="only this mutant; may be repeated")
    parser.add_argument("--list", action="store_true", help="show the mutants and their tests, run nothing")
    arguments = parser.parse_args()
    mutants = chosen(arguments.only)
    if arguments.list:
        for mutant in mutants:
            print(f"{mutant.name:58} {' '.join(mutant.tests)}")
        return 0
    with tempfile.TemporaryDirectory(prefix="hiltk-mutants-") as folder:
        copy, started = Copy(Path(folder).resolve()), time.monotonic()
        # Of tests that fail anyway nothing could be learned.
        if copy.run(tuple(dict.fromkeys(t for m in mutants for t in m.tests)), TIME_LIMIT_ALL_S) != 0:
            print("the tests do not pass without any mutant:\n" + copy.log.read_text()[-3000:])
            return 1
        print(f"without a mutant all tests pass ({time.monotonic() - started:.0f} s)", flush=True)
        outcomes = []
        for mutant in mutants:
            outcomes.append(try_out(mutant, copy))
            print(outcomes[-1], flush=True)
    bad = [o for o in outcomes if not o.good]
    print(f"{len(outcomes) - len(bad)} of {len(outcomes)} killed in {time.monotonic() - started:.0f} s")
    for outcome in bad:
        print(f"not killed: {outcome.name}: {outcome.verdict}")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
