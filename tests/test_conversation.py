"""Conversations: each turn as `generate` for the whole prompt, and the command in a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_chat import tiny_folder, tiny_model, tiny_tokenizer

import tinygrad_llm
from tinygrad_llm.files.plain_text import visible
from tinygrad_llm.generation import ContextFull, Conversation, Sampling, stream_text
from tinygrad_llm.layers.cache import AttentionCache

pytest.importorskip("jinja2")
ROOT = Path(tinygrad_llm.__file__).parent.parent


def conversation(context=128, name="Llama", **options):
    tokens = options.pop("max_new_tokens", 6)
    return Conversation(
        tiny_model(context, name), tiny_tokenizer(), max_new_tokens=tokens, **options
    )


def alone(talk, messages):
    """What stream_text writes for the whole prompt, computed from the beginning."""
    ids = talk.tokenizer.chat(messages)
    options = {"tokenizer": talk.tokenizer, "sampling": talk.sampling}
    return "".join(stream_text(talk.model, ids, talk.max_new_tokens, **options))


# -------------------------------------------------------------------------------- the library
@pytest.mark.parametrize("sizes", [{}, {"system": "Be <b>rief"}])
def test_each_turn_equals_generation_of_the_whole_prompt(sizes):
    talk = conversation(**sizes)
    system = [{"role": "system", "content": sizes["system"]}] if sizes else []
    for text in ("Hi", "\u3042 more?", "<b>"):
        before = list(talk.messages)
        answer = "".join(talk.ask(text))
        assert answer == alone(talk, [*system, *before, {"role": "user", "content": text}])
        assert talk.messages[-1] == {"role": "assistant", "content": answer}
        assert talk.turn.ended == "tokens" and talk.turn.new_tokens == 6
    assert talk.turn.prompt_tokens == len(talk.tokenizer.chat([*system, *talk.messages[:-1]]))


def test_only_new_tokens_are_computed():
    talk = conversation()
    "".join(talk.ask("Hi there"))
    first = talk.turn
    assert first.computed_tokens == first.prompt_tokens
    "".join(talk.ask("Go on"))
    # the answer's last token, <b>, <a>uGo on<b>, <a>a: all else is in the cache
    assert talk.turn.computed_tokens == 1 + 1 + 8 + 2
    assert talk.turn.prompt_tokens == first.prompt_tokens + 6 + 1 + 8 + 2
    talk.system = "New"  # the beginning has changed after <a>
    "".join(talk.ask("?"))
    assert talk.turn.computed_tokens == talk.turn.prompt_tokens - 1


def test_a_seed_repeats_the_conversation_and_reset_forgets_it():
    answers = []
    for _ in range(2):
        talk = conversation(sampling=Sampling(temperature=1.0), seed=5)
        answers.append(["".join(talk.ask(text)) for text in "abc"])
    assert answers[0] == answers[1] and len(set(answers[0])) > 1
    talk.reset()
    assert talk.messages == []
    "".join(talk.ask("Hi"))
    assert talk.turn.prompt_tokens == len("<a>uHi<b><a>a") - 6  # three of them are one token each


def test_the_oldest_turns_are_left_out_of_a_full_context():
    talk = conversation(context=64, max_new_tokens=12)
    for text in ("first one", "second one", "third one"):
        answer = "".join(talk.ask(text))
        seen = talk.messages[talk.first : -1]
        assert answer == alone(talk, seen)
    assert talk.turn.dropped == talk.first > 0 and len(talk.messages) == 6
    assert seen[0]["role"] == "user" and seen[-1]["content"] == "third one"


def test_a_message_that_does_not_fit_is_refused_and_a_long_one_gets_a_shorter_answer():
    talk = conversation(context=32, max_new_tokens=12)
    with pytest.raises(ContextFull, match="it has 35 tokens, and the model sees 32"):
        talk.ask("x" * 30)
    assert talk.messages == []
    "".join(talk.ask("x" * 23))
    assert (talk.turn.ended, talk.turn.new_tokens) == ("context", 4)


@pytest.mark.parametrize("where", ["between tokens", "the consumer leaves", "within a layer"])
def test_an_interrupted_answer_leaves_the_conversation_right(where, monkeypatch):
    talk = conversation()
    "".join(talk.ask("Hi"))
    pieces = talk.ask("On")
    got = next(pieces)
    if where == "between tokens":
        talk.stop()
        got += "".join(pieces)
    elif where == "the consumer leaves":
        pieces.close()
    else:  # the first layer has the new token, the second does not
        monkeypatch.setattr(AttentionCache, "append", _interrupt_second(AttentionCache.append))
        monkeypatch.setattr(AttentionCache, "reserve", _interrupt_second(AttentionCache.reserve))
        with pytest.raises(KeyboardInterrupt):
            next(pieces)
        monkeypatch.undo()
    assert talk.turn.ended == "stopped"
    assert talk.messages[-1] == {"role": "assistant", "content": got}
    before = list(talk.messages)
    assert "".join(talk.ask("?")) == alone(talk, [*before, {"role": "user", "content": "?"}])


def _interrupt_second(method):
    calls = []

    def call(*arguments):
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return method(*arguments)

    return call


def test_a_message_stopped_before_its_answer_is_not_kept():
    talk = conversation()
    pieces = talk.ask("Hi")
    talk.stop()
    assert list(pieces) == [] and talk.messages == [] and talk.turn.ended == "stopped"


def test_a_stop_string_ends_an_answer():
    talk = conversation(max_new_tokens=20)
    whole = "".join(talk.ask("Hi"))
    talk.reset()
    talk.sampling = Sampling(stop_strings=whole[4:6])
    assert "".join(talk.ask("Hi")) == whole[: whole.index(whole[4:6])]
    assert talk.turn.ended == "end"


# -------------------------------------------------------------------------------- the command
@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_folder(tmp_path_factory.mktemp("tiny"))


def command(folder, *arguments):
    return [sys.executable, "-m", "tinygrad_llm.cli", "chat", str(folder), *map(str, arguments)]


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "TINYGRAD_LLM_LOOPS": "0", "TERM": "dumb",
            "PYTHONUTF8": "1"}  # fmt: skip


def piped(folder, lines, *arguments, cwd=None):
    return subprocess.run(
        command(folder, *arguments), input=lines, env=environment(), cwd=cwd or folder,
        capture_output=True, timeout=60,
    )  # fmt: skip


def test_without_a_terminal_lines_are_messages(folder, tmp_path):
    lines = (
        "Hi\n\n//slash \u3042\n/system S\n/temperature x\n/save talk.json\n/save talk.json\n/no\n"
    )
    done = piped(folder, lines.encode() + b"\xff\n/exit\nnever", "--tokens", "4",
                 "--temperature", "0", cwd=tmp_path)  # fmt: skip
    errors = done.stderr.decode()
    saved = json.loads((tmp_path / "talk.json").read_text())
    answers = [m["content"] for m in saved["messages"] if m["role"] == "assistant"]
    assert [m["role"] for m in saved["messages"]] == ["system", *["user", "assistant"] * 2]
    assert saved["messages"][3]["content"] == "/slash \u3042"
    assert done.stdout.decode().startswith("".join(f"{visible(a)}\n" for a in answers))
    assert len(done.stdout.decode().splitlines()) >= 3 and "never" not in errors
    assert done.returncode == 1  # for a script: not every line could be done
    assert "/temperature must be a finite number of at least 0, got x" in errors
    assert "there is no command /no: /help lists them" in errors
    assert errors.count("tokens/s; cut off after --tokens)") == 3


def test_save_does_not_overwrite_what_others_wrote(folder, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    done = piped(folder, b"/save mine.txt\n/save\n/save no/where.json\n", cwd=tmp_path)
    errors = done.stderr.decode().splitlines()
    assert (tmp_path / "mine.txt").read_text() == "mine" and done.returncode == 1
    assert "mine.txt exists: choose another name" in errors[0]
    assert "/save needs the name of a file" in errors[1] and "Traceback" not in done.stderr.decode()


def test_what_chat_refuses(tmp_path):
    plain = tiny_folder(tmp_path / "plain", template=None)
    done = piped(plain, b"Hi\n")
    assert done.returncode == 2 and b"has no chat template: use" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    small = tiny_folder(tmp_path / "small", context_length=16)
    done = piped(small, b"a message that is far too long\nHi\n", "--tokens", "3")
    assert done.returncode == 1 and b"the message is too long" in done.stderr
    assert len(done.stdout.splitlines()) >= 1  # the next one is answered


class Terminal:
    """The command on a pseudo terminal."""

    def __init__(self, folder, *arguments):
        pty = pytest.importorskip("pty")
        self.end, inner = pty.openpty()
        self.process = subprocess.Popen(
            command(folder, *arguments), env=environment(), cwd=folder, stdin=inner, stdout=inner,
            stderr=inner, start_new_session=True,
        )  # fmt: skip
        os.close(inner)
        self._rest = b""

    def until(self, text, seconds=60):
        """Reads until the text appears after what was read before; returns what came."""
        deadline, got = time.monotonic() + seconds, self._rest
        while text.encode() not in got:
            self._rest = got
            assert time.monotonic() < deadline, got.decode(errors="replace")
            try:
                got += self._read()
            except OSError:  # Linux: the other end is closed
                assert text.encode() in got, got.decode(errors="replace")
        end = got.index(text.encode()) + len(text.encode())
        self._rest = got[end:]
        return got[:end].decode(errors="replace")

    def _read(self):
        """What comes within 0.2 seconds."""
        return os.read(self.end, 4096) if select.select([self.end], [], [], 0.2)[0] else b""

    def more(self, n, seconds=60):
        """Waits for n more bytes."""
        deadline = time.monotonic() + seconds
        while len(self._rest) < n:
            assert time.monotonic() < deadline, self._rest.decode(errors="replace")
            self._rest += self._read()

    def prompted(self, seconds=60):
        """Waits for the prompt, and until readline takes each key: both are a moment apart."""
        import termios

        self.until("> ")
        deadline = time.monotonic() + seconds
        while _has_readline() and termios.tcgetattr(self.end)[3] & termios.ICANON:
            assert time.monotonic() < deadline, "readline does not wait for keys"
            time.sleep(0.005)

    def repeat(self, act, text, seconds=60):
        """Acts until the text appears: readline loses a signal just before it waits for keys."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            act()
            with contextlib.suppress(AssertionError):
                return self.until(text, 1)
        raise AssertionError(f"{text!r} did not appear")

    def type(self, text):
        os.write(self.end, text.encode())

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.end)


@pytest.fixture
def terminal(folder):
    opened = []

    def start(*arguments):
        opened.append(Terminal(folder, *arguments))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_in_a_terminal(terminal):
    chat = terminal("--tokens", "4", "--temperature", "0")
    assert "/help lists the commands" in chat.until("> ")
    chat.type("\u65e5\u672c\u8a9e\x7f\n")  # the last of three wide characters is taken back
    first = chat.until("tokens/s")
    assert "\u65e5\u672c" in first and "(11 tokens of prompt, 11 of them new; 4 tokens" in first
    chat.until("> ")
    chat.type("\x1b[A\n")  # the arrow up: the same message again
    second = chat.until("tokens/s")
    chat.until("> ")
    if _has_readline():
        assert "(27 tokens of prompt, " in second  # 11 + 4 + <b> + 9 + 2
    chat.type("/exit\n")
    assert chat.process.wait(60) == 0


def _has_readline():
    try:
        import readline  # noqa: F401
    except ImportError:
        return False
    return True


def test_ctrl_c_stops_the_answer_and_not_the_program(tmp_path):
    chat = Terminal(tiny_folder(tmp_path / "long", 60_000), "--tokens", 50_000, "--temperature", 0)
    try:
        chat.prompted()
        chat.type("Hi\n")
        chat.until("Hi")
        chat.more(20)  # the answer has begun
        os.killpg(chat.process.pid, signal.SIGINT)
        assert "; stopped)" in chat.until("tokens/s; stopped)")
        chat.prompted()
        chat.repeat(lambda: os.killpg(chat.process.pid, signal.SIGINT), "/exit leaves)")
        chat.prompted()  # before it, the terminal would keep Ctrl-D
        deadline = time.monotonic() + 60
        while chat.process.poll() is None and time.monotonic() < deadline:
            chat.type("\x04")
            time.sleep(0.3)
        assert chat.process.poll() == 0
    finally:
        chat.close()
