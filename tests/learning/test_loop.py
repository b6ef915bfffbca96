"""The loop on a small environment: routing of interventions, bookkeeping, and a resume that is bit-equal."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hiltk.agents.make import load_policy
from hiltk.agents.policy import Policy
from hiltk.agents.sac import SacAgent
from hiltk.config.commands import TrainConf, UntilConf
from hiltk.config.groups import EncoderConf, EnvConf, InterventionConf, SacConf, Schedule
from hiltk.configuring.typed import compose
from hiltk.data.episode import Source
from hiltk.data.replay import FrameStore, ReplaySampler, example_observation
from hiltk.envs.base import HilEnv
from hiltk.errors import UserError
from hiltk.humans.schedules import InterventionSchedule
from hiltk.learning.loop import Trainer, episode_seed
from hiltk.learning.until import stakes
from hiltk.spec import (
    STATE_KEY,
    ActionSpec,
    Dimension,
    RewardSpec,
    Spec,
    StateSpec,
    Stats,
)
from hiltk.verbs import STEPS

SPEC = Spec(
    state=StateSpec([Dimension("x", "m", -1, 1), Dimension("goal", "m", -1, 1)]),
    action=ActionSpec([Dimension("dx", "1", -1, 1)]),
    stats={STATE_KEY: Stats([0.0, 0.0], [0.5, 0.5])},
)


class Line(HilEnv):
    """Move a point on a line to a goal; success ends the episode, 12 steps are the limit."""

    io_spec = SPEC

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        self.x, self.goal, self.t = 0.0, np.random.default_rng(seed).uniform(-1, 1), 0
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.x += 0.2 * float(np.clip(action[0], -1, 1))
        self.t += 1
        done = abs(self.x - self.goal) < 0.1
        info = {
            "success": done,
            "true_success": done,
            "executed_action": np.clip(action, -1, 1).astype(np.float32),
        }
        return self._observe(), float(done), done, not done and self.t >= 12, info

    def _observe(self) -> dict[str, Any]:
        return {STATE_KEY: np.array([self.x, self.goal], np.float32)}


class Guide:
    """A human who knows the way."""

    def __init__(self, env: Line) -> None:
        self.env, self.seeds = env, []

    def reset(self, seed: int) -> None:
        self.seeds.append(seed)

    def act(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        return np.array([np.sign(self.env.goal - self.env.x)], np.float32)

    def satisfied(self) -> bool:
        return False


def demonstrations(episodes: int) -> FrameStore:
    """Episodes of a guide who goes straight to the goal."""
    env, store = Line(), FrameStore(13 * episodes + 1, example_observation(SPEC), 1)
    for episode in range(episodes):
        observation, done = env.reset(seed=episode)[0], False
        store.begin(observation)
        while not done:
            action = Guide(env).act(observation)
            observation, reward, terminated, truncated, _ = env.step(action)
            store.add(
                action, reward, observation, terminated=terminated, truncated=truncated, source=Source.demo
            )  # fmt: skip
            done = terminated or truncated
    return store


def make_trainer(
    folder: Path,
    episodes: int,
    *,
    resume: bool = False,
    schedule: Schedule = Schedule.brief,
    demos: int = 0,
    agent: SacConf | None = None,
    **settings: Any,
) -> Trainer:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    agent_conf = agent or SacConf(hidden=[16, 16])
    conf = TrainConf(
        name="x", env=EnvConf(name="line"), agent=agent_conf, episodes=episodes, utd=1.5, batch_size=16,
        learning_starts=10, checkpoint_every=2, resume=resume, **settings,
    )  # fmt: skip
    env = Line()
    policy = Policy(agent_conf, EncoderConf(name="none"), copy.deepcopy(SPEC))
    example = example_observation(SPEC)
    return Trainer(
        env=env,
        human=Guide(env),
        schedule=InterventionSchedule(InterventionConf(schedule=schedule, explore_steps=3, max_steps=2), 0),
        agent=SacAgent(policy, agent_conf, RewardSpec(), 12),
        sampler=ReplaySampler(
            demonstrations(demos),
            FrameStore(500, example, 1, path=folder / "online", slack=50),
            discount=0.97,
            pad=0,
            rng=np.random.default_rng(0),
            returns=agent_conf.mc_floor,
        ),
        conf=conf,
        folder=folder,
    )


def test_corrections_enter_their_view_and_the_policys_steps_do_not(
    tmp_path: Path,
) -> None:
    trainer = make_trainer(tmp_path, 6)
    rows = trainer.run()
    store = trainer.store
    every, corrections = store.transitions(), store.interventions()
    assert len(every) == trainer.env_step == sum(r["length"] for r in rows)
    human_steps = round(sum(r["intervention_rate"] * r["length"] for r in rows))
    assert 0 < human_steps == len(corrections) < len(every)
    assert rows[-1]["human_s"] == pytest.approx(human_steps / SPEC.fps + 6 * trainer.conf.costs.reset_s)
    assert (store.source[corrections] == Source.human).all()
    others = np.setdiff1d(every, corrections)
    assert (store.source[others] == Source.policy).all() and not store.is_intervention[others].any()
    # What was stored is what the human did: full speed towards the goal.
    data = store.gather(corrections, discount=0.97)
    towards = np.sign(data["observation"][STATE_KEY][:, 1] - data["observation"][STATE_KEY][:, 0])
    assert np.array_equal(data["action"][:, 0], towards)


def test_updates_follow_the_ratio(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, 6)
    trainer.run()
    assert trainer.agent.updates == int(1.5 * (trainer.env_step - 9))


def test_only_the_last_update_of_a_step_moves_the_actor(tmp_path: Path) -> None:
    trainer, moved = make_trainer(tmp_path, 3), list[list[bool]]()
    update, learn = trainer.agent.update, trainer._learn
    trainer.agent.update = lambda batch, actor: (moved[-1].append(actor), update(batch, actor=actor))[1]  # type: ignore
    trainer._learn = lambda: (moved.append([]), learn())[1]  # type: ignore[method-assign]
    trainer.run()
    # 1.5 updates a step: one and two in turn, none before the tenth step.
    assert moved[:13] == [[]] * 9 + [[True], [False, True]] * 2


def test_what_was_executed_is_stored_and_not_what_was_asked_for(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, 3)
    step = trainer.env.step

    def half(action: np.ndarray) -> Any:
        observation, reward, terminated, truncated, info = step(action / 2)
        return observation, reward, terminated, truncated, info

    trainer.env.step = half  # type: ignore[method-assign]
    trainer.run()
    stored = trainer.store.action[trainer.store.interventions()]
    assert len(stored) > 0 and (np.abs(stored) == 0.5).all()  # the human asked for full speed


def test_the_human_is_reset_once_per_takeover(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, 4)
    rows = trainer.run()
    assert isinstance(trainer.human, Guide)
    assert len(trainer.human.seeds) == sum(r["interventions"] for r in rows) > 0


def test_nobody_takes_over_when_never_is_asked(tmp_path: Path) -> None:
    rows = make_trainer(tmp_path, 3, schedule=Schedule.never).run()
    assert all(r["intervention_rate"] == 0 for r in rows)


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path: Path) -> None:
    whole = make_trainer(tmp_path / "whole", 8)
    expected = whole.run()
    first = make_trainer(tmp_path / "parts", 5)  # checkpoints after episodes 2 and 4; episode 5 is lost
    first.run()
    second = make_trainer(tmp_path / "parts", 8, resume=True)
    torch.manual_seed(99)  # whatever the new process did before
    rows = second.run()
    assert [r["episode"] for r in rows] == list(range(8))
    for ours, theirs in zip(rows, expected, strict=True):
        for key in ("success", "length", "critic_loss", "q_mean", "alpha"):
            assert ours.get(key, 0.0) == pytest.approx(theirs.get(key, 0.0), rel=1e-5), key
    for (name, left), right in zip(
        whole.agent.policy.state_dict().items(),
        second.agent.policy.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(left, right), name
    rows_of = whole.store.transitions()
    assert np.array_equal(rows_of, second.store.transitions())
    assert np.array_equal(whole.store.action[rows_of], second.store.action[rows_of])


def test_nan_stops_the_run_and_keeps_what_caused_it(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, 6)
    with torch.no_grad():
        next(trainer.agent.critic.parameters())[0, 0, 0] = float("nan")
    with pytest.raises(UserError, match=r"diverged: .*critic_loss") as caught:
        trainer.run()
    # A resumed run would diverge again, and may not change its settings (tests/steps/test_train.py).
    assert "lower agent.lr" in str(caught.value) and "resume" not in str(caught.value)
    saved = torch.load(tmp_path / "diverged.pt", weights_only=True)
    assert np.isnan(saved["metrics"]["critic_loss"])
    assert not (tmp_path / "checkpoint.pt").exists()  # no checkpoint of what has gone wrong


def test_a_diverged_run_resumes_from_its_last_good_checkpoint(tmp_path: Path) -> None:
    make_trainer(tmp_path, 4).run()
    broken = make_trainer(tmp_path, 8, resume=True)
    update = broken.agent.update
    broken.agent.update = lambda batch, actor: update(batch, actor=actor) | {"critic_loss": float("nan")}  # type: ignore
    with pytest.raises(UserError, match="diverged"):
        broken.run()
    again = make_trainer(tmp_path, 5, resume=True)
    assert [r["episode"] for r in again.run()] == [0, 1, 2, 3, 4]


def test_an_interrupted_run_says_where_it_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = make_trainer(tmp_path, 8)
    original, calls = trainer.env.reset, []

    def reset(**arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return original(**arguments)

    trainer.env.reset = reset  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert "resume=true goes on from episode 4" in capsys.readouterr().out


def test_episode_seeds_differ_and_are_fixed() -> None:
    seeds = {episode_seed(s, e) for s in range(5) for e in range(50)}
    assert len(seeds) == 250
    assert episode_seed(3, 7) == episode_seed(3, 7)


def test_offline_updates_come_before_the_first_episode_and_only_once(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, 2, demos=4, offline_updates=30)
    first: list[int] = []
    run_episode = trainer._run_episode
    trainer._run_episode = lambda: (first.append(trainer.agent.updates), run_episode())[1]  # type: ignore[method-assign]
    rows = trainer.run()
    assert first[0] == 30
    online = round(sum(r.get("utd", 0.0) * r["length"] for r in rows))
    assert trainer.agent.updates == 30 + online
    again = make_trainer(tmp_path, 2, demos=4, offline_updates=30, resume=True)
    again.run()
    assert again.agent.updates == trainer.agent.updates


def test_every_switch_together_resumes_bit_for_bit(tmp_path: Path) -> None:
    agent = SacConf(hidden=[16, 16], critics=4, target_critics=2, imitation_filter=True, mc_floor=True)
    options: dict[str, Any] = {"demos": 3, "agent": agent, "offline_updates": 5}
    whole = make_trainer(tmp_path / "whole", 8, **options)
    whole.run()
    make_trainer(tmp_path / "parts", 5, **options).run()
    parts = make_trainer(tmp_path / "parts", 8, resume=True, **options)
    parts.run()
    ours, theirs = whole.agent.state_dict(), parts.agent.state_dict()
    for part in ("policy", "critic", "target_critic"):
        assert all(torch.equal(v, theirs[part][k]) for k, v in ours[part].items()), part


def test_a_resumed_run_owes_the_same_updates_and_takes_over_as_rarely(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, 4)
    trainer.run()
    trainer.debt = 0.25
    trainer.save()
    fresh, again = make_trainer(tmp_path / "fresh", 4), make_trainer(tmp_path, 8, resume=True)
    again._resume()
    assert again.debt == 0.25
    assert again.schedule.state_dict() == trainer.schedule.state_dict() != fresh.schedule.state_dict()


def test_batches_are_accounted_for(tmp_path: Path) -> None:
    rows = [r for r in make_trainer(tmp_path, 8, demos=4).run() if "batch_demos" in r]
    assert rows
    for row in rows:
        assert row["batch_demos"] + row["batch_interventions"] + row["batch_policy"] == pytest.approx(1.0)
        assert row["batch_demos"] + row["batch_interventions"] == pytest.approx(row["demo_share"])
        assert 0 < row["positive_share"] < 1 and row["critic_gradient"] > 0 and 0 < row["action_size"] < 1
    assert any(r["batch_demos"] > 0.2 for r in rows) and any(r["batch_interventions"] > 0 for r in rows)
    assert rows[-1]["utd"] == pytest.approx(1.5, abs=0.3)


def test_what_is_paid_for_success_is_told_by_the_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under -1 a step and 0 for success no reward is above 0, and the share of successes is what it would be."""
    trainer = make_trainer(tmp_path, 8, demos=4)
    trainer.agent.reward = RewardSpec(success_value=0.0, step_value=-1.0)
    trainer.sampler.demos.reward -= 1
    step = trainer.env.step

    def costly(action: np.ndarray) -> Any:
        observation, reward, *rest = step(action)
        return observation, float(reward) - 1, *rest

    monkeypatch.setattr(trainer.env, "step", costly)
    shares = [row["positive_share"] for row in trainer.run() if "positive_share" in row]
    assert shares and all(0 < share < 1 for share in shares)


def test_findings_are_printed_recorded_and_not_repeated_after_a_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_trainer(tmp_path, 6, schedule=Schedule.always).run()
    text = (tmp_path / "guards.csv").read_text()
    assert text.count("long_interventions") == 1 and text.splitlines()[1].startswith("2,")
    assert capsys.readouterr().out.count("guard long_interventions") == 1
    make_trainer(tmp_path, 10, schedule=Schedule.always, resume=True).run()
    assert (tmp_path / "guards.csv").read_text() == text
    assert "guard" not in capsys.readouterr().out


def test_the_best_policy_is_kept_and_a_resume_knows_it(tmp_path: Path) -> None:
    whole = make_trainer(tmp_path / "whole", 24, schedule=Schedule.never)
    rows = whole.run()
    assert whole.best.episode >= 19 and all(r["left_alone"] for r in rows)
    rates = {i: np.mean([r["success"] for r in rows[i - 19 : i + 1]]) for i in range(19, 24)}
    assert whole.best.rate == pytest.approx(max(rates.values())) == pytest.approx(rates[whole.best.episode])
    make_trainer(tmp_path / "parts", 21, schedule=Schedule.never).run()
    parts = make_trainer(tmp_path / "parts", 24, resume=True, schedule=Schedule.never)
    parts.run()
    assert parts.best.note() == whole.best.note()
    one, other = (load_policy(tmp_path / f / "best").state_dict() for f in ("whole", "parts"))
    assert all(torch.equal(v, other[k]) for k, v in one.items())


def test_a_run_ends_when_it_is_good_and_so_does_a_resumed_one(tmp_path: Path) -> None:
    until = UntilConf(rate=0.05)
    rows = make_trainer(tmp_path / "whole", 20, schedule=Schedule.never, until=until).run()
    outcomes = [r["success"] > 0 for r in rows]
    assert 1 < len(rows) < 20 and stakes(outcomes, 0.05)[-1] >= 20 > max(stakes(outcomes, 0.05)[:-1])
    for episodes in (3, 20, 20):  # the second time it is good when it begins
        trainer = make_trainer(tmp_path / "parts", episodes, resume=episodes > 3, schedule=Schedule.never, until=until)
        again = trainer.run()
    assert [r["success"] for r in again] == [r["success"] for r in rows]


def test_episodes_left_alone_are_told_to_schedule_and_metrics_alike(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, 12)
    rows = trainer.run()
    assert [r["success"] > 0 if r["left_alone"] else None for r in rows] == list(trainer.schedule._recent)
    assert {r["interventions"] for r in rows if r["left_alone"]} == {0}


def test_an_imitation_term_without_humans_is_not_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = make_trainer(tmp_path, 8, schedule=Schedule.never)
    rows = trainer.run()
    assert {r["imitation_samples"] for r in rows if "imitation_samples" in r} == {0}
    assert "guard imitation_inert: the imitation term has weight 1 and no transition" in capsys.readouterr().out
    assert "imitation_inert" in (tmp_path / "guards.csv").read_text()


def test_where_there_is_no_human_at_all_one_episode_is_enough(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, 4, schedule=Schedule.never)
    trainer.human = None
    trainer.guards.expected = trainer._expected()
    first = next(r["episode"] for r in trainer.run() if "imitation_samples" in r)
    [line] = [x for x in (tmp_path / "guards.csv").read_text().splitlines() if "imitation_inert" in x]
    assert line.startswith(f"{first:.0f},")


def test_an_imitation_filter_that_never_agrees_is_not_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(SacAgent, "_preferred", lambda self, batch, features: torch.zeros(len(batch), dtype=torch.bool))
    rows = make_trainer(tmp_path, 8, demos=3, agent=SacConf(hidden=[16, 16], imitation_filter=True)).run()
    assert any(r["demo_share"] > 0.4 for r in rows if "demo_share" in r)
    assert "guard imitation_inert" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["sac", "hilserl", "rlpd"])
def test_sac_and_its_presets_learn_to_reach_a_goal(tmp_path: Path, preset: str) -> None:
    """Through the real loop, with demonstrations and brief corrections; then alone, without noise."""
    agent = compose(STEPS["train"], ["name=x", f"agent={preset}"]).agent
    trainer = make_trainer(tmp_path, 60, demos=5, agent=replace(agent, hidden=[64, 64], lr=1e-3))
    trainer.run()
    solved = []
    for seed in range(50):
        observation, done = trainer.env.reset(seed=10_000 + seed)[0], False
        while not done:
            observation, _, success, truncated, _ = trainer.env.step(trainer.agent.policy.act(observation))
            done = success or truncated
        solved.append(success)
    assert np.mean(solved) > 0.9
