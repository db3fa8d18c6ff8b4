"""The child process: one model, llama.cpp's own server on a unix socket, alive as long as its standard input is open.

Run as a script with one argument, a JSON object of settings (`process.ChildSettings`). It imports nothing of arriero,
because what is imported here is paid for at every load. One JSON line on standard output tells the end of loading:
`{"ready": "unix:///..."}` or `{"failed": "..."}`; the reason of a failure is on standard error, where llama.cpp writes
it. Exit codes: 0 standard input closed, 3 the model or its settings were refused, 4 the engine could not be imported.
"""

import contextlib
import fcntl
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any, TextIO

REFUSED = 3
NOT_IMPORTED = 4
LOG_SECONDS = 0.1
NO_PROGRAMS = "/nonexistent"  # what is no picture would be handed to a program of the machine, if it has one
MICRO_BATCH = 512  # llama.cpp's default: what is computed at once, and so the memory that it takes


def apply(settings: dict[str, Any], params: Any, engine: Any) -> None:
    """Write the settings into llama.cpp's parameters. `params` is a `CommonParams`, `engine` the package."""
    params.model.path = settings["model"]
    params.model_alias = {settings["alias"]}
    params.hostnames = [settings["socket"]]
    params.verbosity = 1  # errors only; below that the reason of a failed load is not told
    params.ui = False
    params.cache_ram_mib = 0  # its default keeps up to 8 GiB of old prompts
    params.video_ffmpeg_bin_dir = NO_PROGRAMS
    params.fit_params = False  # it would alter the context length on its own
    params.n_ctx = settings["context_length"] * settings["parallel"]
    params.n_parallel = settings["parallel"]
    # One store of keys and values for all slots, and yet no request may use more than its own context.
    params.kv_unified = True
    params.kv_unified_per_slot = settings["context_length"]
    params.n_batch = settings["batch"]
    params.n_ubatch = min(settings["batch"], MICRO_BATCH)
    if not settings["mmap"]:
        params.load_mode = engine.llama_load_mode.LLAMA_LOAD_MODE_NONE
    params.no_extra_bufts = not settings["repack"]
    if settings["projector"]:
        params.mmproj.path = settings["projector"]
    if settings["template"]:
        params.chat_template = settings["template"]
    if settings["adapters"]:
        params.lora_adapters = [adapter(path, engine) for path in settings["adapters"]]
    if settings["threads"]:
        params.cpuparams.n_threads = settings["threads"]
        params.cpuparams_batch.n_threads = settings["threads"]
    if settings["embedding"]:
        params.embedding = True
        # An input must fit into one batch: it cannot be pooled over several.
        params.n_batch = params.n_ubatch = settings["context_length"]
        if settings["pooling"]:
            pooling = f"LLAMA_POOLING_TYPE_{settings['pooling'].upper()}"
            params.pooling_type = getattr(engine.llama_pooling_type, pooling)
    for name, value in settings["sampling"].items():
        setattr(params.sampling, name, value)


def adapter(path: str, engine: Any) -> Any:
    """A LoRA adapter at its full strength."""
    info = engine.CommonAdapterLoraInfo()
    info.path = path
    info.scale = 1.0
    return info


def private_stdout() -> TextIO:
    """Take standard output for the one line, and send whatever native code prints there to standard error."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return channel


def volunteer_for_the_oom_killer() -> None:
    """When memory runs out the kernel shall take a model, not the gateway."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def fence(own_bytes: int) -> None:
    """Take no more memory of its own than that. A template that comes with a model is a program, and may double a text
    until the machine has nothing left for anybody.
    """
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (own_bytes, own_bytes))


def sweep(socket: str) -> None:
    """Remove the socket and its private directory: a gateway that was killed cannot."""
    with contextlib.suppress(OSError):
        Path(socket).unlink()
    with contextlib.suppress(OSError):
        Path(socket).parent.rmdir()


def die_with_standard_input(on: bool) -> None:
    """Let the kernel end this process when standard input closes: SIGIO, which terminates unless it is handled.

    Loading takes minutes for a large model and holds the interpreter all the while, so that no thread of Python could
    notice that the gateway is gone.
    """
    flags = fcntl.fcntl(0, fcntl.F_GETFL)
    with contextlib.suppress(OSError):
        fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(0, fcntl.F_SETFL, flags | os.O_ASYNC if on else flags & ~os.O_ASYNC)


def main() -> None:
    settings: dict[str, Any] = json.loads(sys.argv[1])
    channel = private_stdout()
    die_with_standard_input(True)

    def say(**line: str) -> None:
        channel.write(json.dumps(line) + "\n")
        channel.flush()

    volunteer_for_the_oom_killer()
    if settings["own_bytes"] is not None:
        fence(settings["own_bytes"])
    # Read by native code: no gdb for a backtrace on abort, and no more threads than were granted.
    os.environ["GGML_NO_BACKTRACE"] = "1"
    if settings["threads"]:
        os.environ["OMP_NUM_THREADS"] = str(settings["threads"])
    try:
        import xllamacpp
    except ImportError as error:
        say(failed=f"the engine cannot be imported: {error}")
        os._exit(NOT_IMPORTED)
    try:
        params = xllamacpp.CommonParams()
        apply(settings, params, xllamacpp)
        # The name keeps the server alive; its destructor is never to run, since it can hang.
        server = xllamacpp.Server(params)
    except (RuntimeError, ValueError, TypeError, AttributeError, OSError) as error:
        # llama.cpp writes its log from a thread of its own, and the reason may still be on its way.
        time.sleep(LOG_SECONDS)
        say(failed=str(error))
        sweep(settings["socket"])
        os._exit(REFUSED)
    # From here on the end of standard input is read, and there is time to sweep up.
    die_with_standard_input(False)
    say(ready=str(server.listening_address))
    sys.stdin.buffer.read()
    sweep(settings["socket"])
    os._exit(0)


if __name__ == "__main__":
    main()
