"""The `hiltk` command: Typer owns the verbs, their help, completion and exit codes; Hydra owns each verb's settings.

Nothing heavier than Typer is imported here, so that help and completion answer at once. (No postponed annotations in
this file: Typer cannot look up the names of a closure's annotations.)
"""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from hiltk.errors import ConfigError, HiltkError
from hiltk.interrupts import Interrupts, Terminated, exit_code, leave_dead_streams
from hiltk.verbs import ARMS, PREFIXES, ROOT_HELP, STEPS, VERBS, Verb, default_root

TRACEBACK = "HILTK_TRACEBACK"
ARM_HELP = f"An arm's name, {ARMS}/ARM.yaml, or a file; default: the only one there is."
INTERNAL, UNREAD = 70, 141  # exit codes besides 1 (bad input), 2 (config mistake) and those of signals

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Human-in-the-loop robot learning: record, repair, classify, clone, train, evaluate.",
    epilog="First run: [bold]hiltk run quickstart[/bold]. Each command explains itself: hiltk train --help",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"hiltk {version('hiltk')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of `hiltk` itself."""


# ---------------------------------------------------------------- running a step


@contextmanager
def messages(*, bad_input: int = 1, verb: Verb | None = None) -> Iterator[None]:
    """Turn exceptions into one message on stderr and an exit code.

    `HiltkError` carries its own code (1 or 2); signals that end a process give 128 and their number (Ctrl-C 130);
    anything else is our fault, 70. With ``HILTK_TRACEBACK=1`` the full trace is shown instead.

    Args:
        bad_input: the code of a `UserError`, where 1 has another meaning.
        verb: the step that runs, to say what becomes of it when a signal ends it.
    """
    try:
        with Interrupts():
            yield
    except (typer.Exit, typer.Abort):
        raise
    except BaseException as error:
        if os.environ.get(TRACEBACK) == "1" or isinstance(error, SystemExit):
            raise
        leave_dead_streams()
        text, code = _describe(error)
        if isinstance(error, KeyboardInterrupt) and verb and not goes_on(verb):
            text += "; nothing is kept, the same command starts anew"
        code = bad_input if code == 1 else code
        typer.secho(text, fg="red", err=True)
        raise typer.Exit(code) from None


def _describe(error: BaseException) -> tuple[str, int]:
    if isinstance(error, HiltkError):
        kind = "config error" if isinstance(error, ConfigError) else "error"
        return f"{kind}: {error}", error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return f"interrupted{_by(error)}", exit_code(error)
    if isinstance(error, BrokenPipeError):  # as of `hiltk train | head`
        return "nobody reads what is printed here any more", UNREAD
    text = f"internal error: {type(error).__name__}: {error}".splitlines()[0]
    return (f"{text}\n  fix:   {TRACEBACK}=1 shows where; this is a fault of hiltk, not of your input", INTERNAL)


def goes_on(verb: Verb) -> bool:
    """Whether a step can be resumed where it was interrupted."""
    from hiltk.config.commands import COMMANDS

    return "resume" in COMMANDS[verb.name].__dataclass_fields__


def _by(error: KeyboardInterrupt) -> str:
    """By which signal, where it was not Ctrl-C's."""
    return f" by {error}" if isinstance(error, Terminated) else ""


@contextmanager
def _process_state(argv: list[str]) -> Iterator[None]:
    """What Hydra reads from the process, put back afterwards: a command may run again in the same process."""
    before, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = argv
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come to us instead of ending in Hydra's own sys.exit
    try:
        yield
    finally:
        sys.argv = before
        if full is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)
        else:
            os.environ["HYDRA_FULL_ERROR"] = full


def _task(verb: Verb, failures: list[BaseException]) -> Callable[[Any], Any]:
    """What Hydra calls with a composed config."""

    def task(cfg: Any) -> None:
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        from hiltk.configuring.typed import typed

        try:
            importlib.import_module(verb.module).run(typed(verb, cfg))
        except Exception as error:
            # In a sweep Hydra must see the failure, to say which job it was and to go on with the others.
            if HydraConfig.get().mode != RunMode.RUN:
                raise
            failures.append(error)

    return task


def _is_for_hydra(word: str) -> bool:
    """An option of Hydra (``-m``), or a setting of it. Without one there is a single config, which we compose as
    pipelines do: Hydra's own main composes it twice, the first time only to see whether this is a sweep."""
    return word.startswith("-") or word.lstrip("+~").startswith("hydra")


def run_step(verb: Verb, words: list[str]) -> None:
    """Run one verb with Hydra's command-line semantics.

    Raises:
        ConfigError: the words do not fit the verb's schema.
        UserError: the step could not do its work.
    """
    import hydra

    from hiltk.configuring.composing import register
    from hiltk.configuring.files import shipped
    from hiltk.configuring.mistakes import explained
    from hiltk.configuring.typed import compose
    from hiltk.configuring.words import words_to_overrides

    failures: list[BaseException] = []
    overrides = words_to_overrides(verb, words)
    if {"--cfg", "-c"} & {*words}:
        overrides.append("--resolve")  # shows values, not where they come from
    with _process_state([f"hiltk {verb.name}", *overrides]):
        if not any(map(_is_for_hydra, overrides)):
            importlib.import_module(verb.module).run(compose(verb, overrides))
            return
        register()
        with explained(verb, overrides):
            hydra.main(config_path=str(shipped("conf")), config_name=verb.config, version_base="1.3")(
                _task(verb, failures)
            )()
    if failures:
        raise failures[0]


# ---------------------------------------------------------------- the verbs


def _command_class(verb: Verb) -> type[TyperCommand]:
    """A command whose help is made when it is asked for."""

    class Command(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            ctx.meta["words"] = list(args)
            return super().parse_args(ctx, args)

        def format_help(self, ctx: Any, formatter: Any) -> None:  # of the click inside Typer
            from hiltk.configuring.help import help_text

            self.help = help_text(verb, ctx.meta.get("words", ()))
            super().format_help(ctx, formatter)

    return Command


def _complete(verb: Verb) -> Callable[..., list[str]]:
    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        from hiltk.configuring.completion import complete

        return complete(verb, ctx.params.get("overrides") or [], incomplete)

    return complete


def _add(verb: Verb) -> None:
    settings = typer.Argument(
        help="Settings key=value and Hydra's own options.",
        autocompletion=_complete(verb),
        show_default=False,
        metavar=f"{f'[{verb.words.upper()}] ' if verb.words else ''}KEY=VALUE",
    )

    def command(ctx: typer.Context, overrides: Annotated[list[str] | None, settings] = None) -> None:
        with messages(verb=verb):
            run_step(verb, [*(overrides or []), *ctx.args])

    prefix, _, last = verb.name.rpartition(" ")
    (_prefixes[prefix] if prefix else app).command(
        last,
        cls=_command_class(verb),
        short_help=verb.help,
        rich_help_panel=verb.group,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )(command)


_prefixes = {name: typer.Typer(no_args_is_help=True, help=about) for name, about in PREFIXES.items()}
for _verb in STEPS.values():
    _add(_verb)
for _name, _prefixed in _prefixes.items():
    _group = next(verb.group for verb in VERBS.values() if verb.name.startswith(f"{_name} "))
    app.add_typer(_prefixed, name=_name, rich_help_panel=_group)


# ---------------------------------------------------------------- the verbs without a config


def _listed(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command under its row of the table."""
    verb = VERBS[name]
    prefix, _, last = name.rpartition(" ")
    place = _prefixes[prefix] if prefix else app
    return place.command(last, short_help=verb.help, rich_help_panel=verb.group)


def _complete_names(ctx: typer.Context, incomplete: str) -> list[str]:
    from hiltk.configuring.completion import complete_names

    given = [word for value in ctx.params.values() for word in (value if isinstance(value, list) else [value])]
    return complete_names(VERBS[str(ctx.info_name)], [word for word in given if isinstance(word, str)], incomplete)


def _argument(about: str, metavar: str | None = None) -> Any:
    return typer.Argument(help=about, metavar=metavar, autocompletion=_complete_names, show_default=False)


def _split(verb: Verb, words: list[str], count: int | None = None) -> tuple[list[str], str]:
    """The artifacts a command names, and its ``root=FOLDER``, which may stand anywhere among them.

    Raises:
        ConfigError: another setting, or not as many artifacts as it takes.
    """
    settings = [w for w in words if "=" in w and "/" not in w.partition("=")[0]]  # a folder may have "=" in its name
    artifacts = [w for w in words if w not in settings]
    for word in settings:
        if not word.startswith("root="):
            fix = f"the only one here is root=FOLDER; `hiltk {verb.name} --help` lists the options"
            raise ConfigError(f"'{word}' is not a setting of `hiltk {verb.name}`", fix=fix)
    if count is not None and len(artifacts) != count:
        what = "one artifact" if count == 1 else f"{count} artifacts"
        raise ConfigError(f"hiltk {verb.name} takes {what}, not {len(artifacts)}", where=" ".join(words))
    return artifacts, settings[-1].removeprefix("root=") if settings else default_root()


_Words = list[str] | None
_Root = Annotated[_Words, _argument(ROOT_HELP, "root=FOLDER")]


@_listed("run")
def run_pipeline(
    name: Annotated[str, _argument("A pipeline that ships with hiltk, or a YAML file.")],
    settings: Annotated[
        _Words, typer.Argument(help=f"e.g. seeds=[0] jobs=1 vars.image=84 train.episodes=50 root=FOLDER ({ROOT_HELP})")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run and what would be skipped.")] = False,
) -> None:
    """Run a chain of commands, feeding artifacts from step to step.

    Steps whose settings, code and inputs are unchanged are skipped.
    """
    with messages():
        from hiltk.steps.run import run

        run(name, settings or [], dry_run=dry_run)


@_listed("check")
def check(
    artifacts: Annotated[
        _Words,
        _argument(
            f"Names, name@version, paths or hub:owner/repo; and root=FOLDER ({ROOT_HELP}).",
            "ARTIFACT|root=FOLDER",
        ),
    ] = None,
    step: Annotated[str, typer.Option(help="Only what this command checks by itself, e.g. train.")] = "",
    select: Annotated[_Words, typer.Option(help="Only these rules or families, e.g. ACT,GRP001.")] = None,
    ignore: Annotated[_Words, typer.Option(help="Without these rules or families.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")] = False,
    show_list: Annotated[bool, typer.Option("--list", help="Every rule, and what of the past it covers.")] = False,
    explain: Annotated[str, typer.Option(metavar="CODE", help="Symptom, cause, detection and fix of one rule.")] = "",
    old_root: Annotated[str, typer.Option("--root", hidden=True)] = "",
) -> None:
    """Look for known mistakes, like a linter; writes nothing. Exit code 1 where there is an error.

    Several artifacts are also checked against each other. Other commands run the rules that concern them by
    themselves and refuse on errors; checks.ignore=[ACT003] overrides there.
    """
    with messages():
        from hiltk.steps import check as verb

        if explain:
            return verb.print_explanation(explain)
        if show_list:
            return verb.print_list(as_json=as_json)
        if old_root:
            raise ConfigError("--root is now root=", where=f"--root {old_root}", fix=f"root={old_root}")
        names, root = _split(VERBS["check"], artifacts or [])
        if not verb.run(names, root=root, step=step, select=select or [], ignore=ignore or [], as_json=as_json):
            raise typer.Exit(1)


_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]


@_listed("show")
def show(
    artifact: Annotated[str, _argument("NAME, NAME@VERSION, a path or hub:owner/repo@tag.")],
    settings: _Root = None,
    as_json: _Json = False,
) -> None:
    """Show what an artifact's numbers mean (its spec), and which step made it of what. Writes nothing."""
    with messages():
        from hiltk.steps.show import run

        [reference], root = _split(VERBS["show"], [artifact, *(settings or [])], 1)
        run(reference, root=root, as_json=as_json)


@_listed("diff")
def diff(
    a: Annotated[str, _argument("An artifact, as `hiltk show` takes it.")],
    b: Annotated[str, _argument("Another one; need not be of the same kind.")],
    settings: _Root = None,
    as_json: _Json = False,
) -> None:
    """Compare two artifacts: spec (and what a step that joins them would refuse), settings, statistics.

    Writes nothing. Exit code as diff(1): 0 no differences, 1 differences, 2 it could not be said (with a message).
    """
    with messages(bad_input=2):
        from hiltk.steps.diff import run

        [left, right], root = _split(VERBS["diff"], [a, b, *(settings or [])], 2)
        if run(left, right, root=root, as_json=as_json):
            raise typer.Exit(1)


# ---------------------------------------------------------------- the arm


@_listed("doctor")
def doctor(settings: _Root = None) -> None:
    """Say what this machine has (ports, cameras, permissions, GPU, renderer, disk), and what is missing for which
    command. Opens no device and writes nothing.
    """
    with messages():
        from hiltk.steps.doctor import run

        run(_split(VERBS["doctor"], settings or [], 0)[1])


def _complete_arms(incomplete: str) -> list[str]:
    from pathlib import Path

    return sorted(p.stem for p in Path(ARMS).glob(f"{incomplete}*.yaml"))


_Arm = Annotated[str, typer.Argument(help=ARM_HELP, autocompletion=_complete_arms, show_default=False)]


@_listed("arm init")
def arm_init(
    name: Annotated[str, typer.Argument(help="What to call the arm; arms/NAME.yaml must not exist yet.")],
    emulated: Annotated[
        bool, typer.Option("--emulated", help="An arm without hardware, to rehearse with; asks nothing.")
    ] = False,
    port: Annotated[str, typer.Option(help="Serial port, by a name that stays; else the one there is.")] = "",
    camera: Annotated[_Words, typer.Option(metavar="NAME=ID", help="A camera, e.g. wrist=/dev/v4l/by-id/...")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Take every proposal; ask nothing.")] = False,
) -> None:
    """Write arms/NAME.yaml, where each setting has its meaning beside it: port and cameras by names that stay, the
    calibration that LeRobot or the servos have, camera sizes and rates as measured, a workspace within reach.

    The arm does not move. Read the file, then: hiltk arm check NAME
    """
    with messages():
        from hiltk.steps.arm_init import run

        run(name, emulated=emulated, port=port, cameras=camera or [], yes=yes)


@_listed("arm scan")
def arm_scan(
    arm: _Arm = "",
    port: Annotated[str, typer.Option(help="Look at this port, whatever arm it is.")] = "",
) -> None:
    """List every servo on the arm's port, or without an arm on every USB port: at all baud rates, by bare packets, so
    that it also finds what LeRobot's driver refuses. Nothing moves, nothing is written.
    """
    with messages():
        from hiltk.steps.arm_scan import run

        run(arm, port=port)


_Size = Annotated[int, typer.Option(help="Pixels that networks see, each way: env.image_height.")]


@_listed("arm check")
def arm_check(
    arm: _Arm = "",
    settings: _Root = None,
    still: Annotated[bool, typer.Option("--still", help="Do not move the arm.")] = False,
    classifier: Annotated[str, typer.Option(help="Put a picture it was trained on beside each camera's.")] = "",
    size: _Size = 64,
) -> None:
    """Compare an arm with its file: servos, calibration by joint and numbers, cameras (rate, age, exposure, light).

    Then it MOVES: to where episodes start, a centimetre forward, left and up, asked against measured, and back to the
    park pose. ROOT/checks/ARM.png shows what each camera gives. Exit code 1 where something is not as the file says.
    """
    with messages():
        from hiltk.steps.arm_check import run

        names, root = _split(VERBS["arm check"], [word for word in [arm, *(settings or [])] if word])
        if len(names) > 1:
            raise ConfigError(f"one arm, not {len(names)}", where=" ".join(names))
        run("".join(names), root=root, still=still, classifier=classifier, size=size)


@_listed("arm snap")
def arm_snap(
    name: Annotated[str, typer.Argument(help="What to call the set; a second time adds to it.")],
    settings: _Root = None,
    arm: Annotated[str, typer.Option(help=ARM_HELP, autocompletion=_complete_arms)] = "",
    count: Annotated[int, typer.Option(help="Pictures to take.")] = 1,
    every: Annotated[float, typer.Option(help="Seconds between them.")] = 0.5,
    size: _Size = 64,
) -> None:
    """Keep a frame of every camera, as the driver gives it and as networks see it, in ROOT/snaps/NAME.

    Two sets tell whether an encoder sees the difference: the cube near, then far, nothing else moved, and
    hiltk diagnose encoder POLICY sets=[near,far]
    """
    with messages():
        from hiltk.steps.arm_snap import run

        [taken], root = _split(VERBS["arm snap"], [name, *(settings or [])], 1)
        run(taken, arm=arm, root=root, count=count, every=every, size=size)


_Supported = Annotated[
    bool, typer.Option("--supported", help="The arm is parked or held, and may lose its torque: do not ask.")
]


@_listed("arm calibrate")
def arm_calibrate(
    arm: _Arm = "",
    write: Annotated[bool, typer.Option("--write", help="Keep what is measured: in the servos and the file.")] = False,
    restore: Annotated[
        bool, typer.Option("--write-calibration", help="Measure nothing; put the file's numbers into the servos.")
    ] = False,
    supported: _Supported = False,
) -> None:
    """Measure the range of each joint as LeRobot does: a middle pose, then a sweep by hand, without torque.

    Raw positions are shown first; nothing is written without --write. An emulated arm turns by itself.
    """
    with messages():
        from hiltk.steps.arm_calibrate import run

        run(arm, write=write, restore=restore, supported=supported)


@_listed("arm home")
def arm_home(
    arm: _Arm = "",
    park: Annotated[bool, typer.Option("--park", help="Straight to the park pose.")] = False,
) -> None:
    """Move an arm slowly to where episodes start, say how far off it is, then park it and switch its torque off.

    Ctrl-C freezes it where it is, with torque on.
    """
    with messages():
        from hiltk.steps.arm_home import run

        run(arm, park=park)


@_listed("arm relax")
def arm_relax(
    arm: _Arm = "",
    port: Annotated[str, typer.Option(help="Relax what is on this port, without a file.")] = "",
    supported: _Supported = False,
) -> None:
    """Switch torque off, motor by motor, whatever state they are in: first it asks whether the arm is supported, since
    without torque it drops.
    """
    with messages():
        from hiltk.steps.arm_relax import run

        run(arm, port=port, supported=supported)


app.registered_commands.sort(key=lambda command: list(VERBS).index(str(command.name)))  # groups in the table's order
for _name, _prefixed in _prefixes.items():
    _prefixed.registered_commands.sort(key=lambda command: list(VERBS).index(f"{_name} {command.name}"))


def main() -> None:
    """Entry point of the console script."""
    app()
