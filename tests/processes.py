"""What happens in every process of a distributed run, and the start of several."""

import hashlib
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import MappingProxyType

import pytest

from etude.adapters.pretraining import clips
from etude.adapters.pretraining import engine as pretraining
from etude.adapters.recipe.pretraining import load_pretrain_recipe
from etude.adapters.recipe.schema import load_recipe
from etude.adapters.states.window_set import WindowSet
from etude.adapters.training import engine, loop
from etude.adapters.training.interrupt import Interruption
from etude.cli import launched
from etude.cli.app import main

BIN = Path(sys.executable).parent
STEPS_PER_EPOCH, STOPPED_AFTER = 2, 3
OVERRIDES = {
    "batch-norm": ("method={name: reprogramming, form: film, width: 4}",),
    "grouped": ("data.file=grouped.csv", "train.epochs=1"),
}


def work(folder, *names, environment=MappingProxyType({})):
    """Do each of ``names``, and leave what this process did in ``FOLDER/NAME.RANK.json``: 0 is the first process."""
    os.environ.update(environment)
    rank = int(os.environ.get("RANK", "0"))
    for name in names:
        did = {"trained on": [], "computed": [], "written": [], "judged": []}
        with pytest.MonkeyPatch.context() as patch:
            watch(patch, did)
            try:
                if name.startswith("pretrain"):
                    pretrain(patch, folder, name, did)
                else:
                    if name == "stopped":
                        interrupt_second_process(patch, rank)
                    if name == "left":
                        interrupt_while_the_second_waits(patch, folder, rank)
                    engine.train(
                        load_recipe(folder / "toy.yaml", OVERRIDES.get(name.split("-one")[0], ())),
                        folder / name,
                        folder / f"{name}-adapter",
                    )
            except KeyboardInterrupt:
                did["interrupted"] = time.time()
        (folder / f"{name}.{rank}.json").write_text(json.dumps(did))


def watch(patch, did):
    def record(owner, attribute, note):
        real = getattr(owner, attribute)

        def recorded(*arguments, **named):
            note(*arguments)
            return real(*arguments, **named)

        patch.setattr(owner, attribute, recorded)

    record(WindowSet, "targets", lambda windows, runs, heads: did["trained on"].append([run.start for run in runs]))
    record(WindowSet, "waveforms", lambda windows, rows: did["computed"].extend((len(windows.tracks), row) for row in rows))
    record(loop, "score_tracks", lambda model, *_: did["judged"].append(digest(model)))
    for owner, attribute in ((loop, "save_checkpoint"), (engine, "write_artifact"), (pretraining, "save_checkpoint")):
        record(owner, attribute, lambda *arguments: did["written"].append(str(arguments[0])))


def digest(model):
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in model.trainable_state().values())).hexdigest()


def pretrain(patch, folder, name, did):
    patch.syspath_prepend(Path(__file__).parent)
    from toy_pretraining import Sines

    patch.setattr(clips, "SampledInstruments", Sines)
    real = clips.Composer.batch

    def batch(self, step, items):
        if step < pretraining.HELD_OUT:
            did["trained on"].append([(step, item) for item in items])
        return real(self, step, items)

    patch.setattr(clips.Composer, "batch", batch)
    pretraining.pretrain(load_pretrain_recipe(folder / "pretraining.yaml"), folder / name, folder / f"{name}-backbone")


def interrupt_second_process(patch, rank):
    """Only one of them gets Ctrl-C; all must agree to stop, and wait for the first, whose disk is slow."""
    real, save, steps = Interruption.requested, loop.save_checkpoint, []

    def requested(self):
        steps.append(1)
        if rank == 1 and len(steps) == STOPPED_AFTER:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self)

    def slowly(*arguments):
        time.sleep(0.3)
        save(*arguments)

    patch.setattr(Interruption, "requested", requested)
    patch.setattr(loop, "save_checkpoint", slowly)


def interrupt_while_the_second_waits(patch, folder, rank):
    """Ctrl-C for both while the first is still filling and the second, done with its share, waits for it."""
    patch.setenv("ETUDE_CACHE", str(folder / "another-cache"))
    real = Interruption.check
    (folder / f"process.{rank}").write_text(str(os.getpid()))

    def check(self):
        if rank == 0:
            time.sleep(0.5)
            for other in (0, 1):
                os.kill(int((folder / f"process.{other}").read_text()), signal.SIGINT)
        real(self)

    patch.setattr(Interruption, "check", check)


def start(count, folder, target, *arguments):
    """``target`` in ``count`` processes that find each other as those of a launcher do, without the seconds it takes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    common |= {"ACCELERATE_USE_CPU": "true", "ETUDE_CACHE": str(folder / "cache")}
    # Imports take longer than all the rest: they are done once, and the processes are forks of the one that did them.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([engine.__name__, pretraining.__name__])
    ranks = [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
    processes = [context.Process(target=target, args=(folder, *arguments), kwargs={"environment": own}) for own in ranks]
    for process in processes:
        process.start()
    return processes


def together(count, folder, *names):
    """:func:`work` in ``count`` processes, to its end."""
    processes = start(count, folder, work, *names)
    try:
        for process in processes:
            process.join(timeout=60)
        assert [process.exitcode for process in processes] == [0] * count
    finally:
        for process in processes:
            process.kill()


def did(folder, name, count):
    return [json.loads((folder / f"{name}.{rank}.json").read_text()) for rank in range(count)]


def command(folder, *arguments, environment):
    """``adapt`` in this process; what it says goes to ``FOLDER/said.RANK``."""
    os.environ.update(environment)
    launched.GRACE_SECONDS = 60.0  # the others are ended long before, however busy the machine is
    with open(folder / f"said.{environment['RANK']}", "w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    sys.argv = ["adapt", *arguments]
    main()


def launch(count, *arguments):
    """``accelerate launch`` in a process group of its own, as a terminal gives it."""
    command = [BIN / "accelerate", "launch", "--multi_gpu", "--num_processes", str(count), "--main_process_port", "0"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true"}
    command += [BIN / "adapt", "train", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, start_new_session=True, **pipes)


def outcome(process):
    """Exit code, standard output and standard error when every process has ended: till then, one of them holds the pipes."""
    try:
        output, errors = process.communicate(timeout=120)
    finally:
        process.terminate()  # the launcher takes the others along
    return process.returncode, output, errors
