"""vLLM's offline engine: requests in, answers out as they finish. The only module here that imports vLLM.

Requests are added to the engine while others run (continuous batching) instead of in chunks of `LLM.generate`, which
would wait for the slowest of each chunk, and hold its answers back until then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from qwen3_in_engine.batch_runner.answers import Answer, Choice
from qwen3_in_engine.batch_runner.contract import Config
from qwen3_in_engine.batch_runner.lines import BadLine, Request

QUEUE_FACTOR = 2
"""Requests in the engine, as a multiple of what it runs at once: it never waits for us, and memory stays bounded."""


class VllmEngine:
    """One engine on the GPUs of this pod."""

    def __init__(self, config: Config) -> None:
        """Load the model. Raises SystemExit (2) for arguments that this vLLM does not take, and vLLM's own errors."""
        from vllm import LLM, SamplingParams

        # Counting for metrics that nobody scrapes costs a tenth of the time of a small model.
        self._llm = LLM(**vars(_engine_args(config.engine)) | {"disable_log_stats": True})
        self._engine = self._llm.llm_engine
        self._tokenizer = self._llm.get_tokenizer()
        self._params = SamplingParams
        model = self._engine.model_config
        self._checkpoint_sampling: dict[str, Any] = model.get_diff_sampling_param()
        self.max_model_len = int(model.max_model_len)
        self._vocabulary = int(model.get_vocab_size())
        self.room = QUEUE_FACTOR * int(self._engine.vllm_config.scheduler_config.max_num_seqs)
        self._config = config
        self._template = Path(config.chat_template).read_text(encoding="utf-8") if config.chat_template else None
        self._prompts: dict[str, str] = {}

    @property
    def waiting(self) -> int:
        """Requests that were added and are not answered."""
        return len(self._prompts)

    def add(self, request: Request) -> None:
        """Give a request to the engine. Raises BadLine for one that it cannot take."""
        prompt, name = self._render(request), str(request.index)
        try:
            # A rendered chat has its special tokens already; a plain text gets what the tokenizer puts around texts.
            tokens = self._tokenizer.encode(prompt, add_special_tokens=request.messages is None)
            self._check_length(request, len(tokens))
            params = self._sampling(request, room=self.max_model_len - len(tokens))
            self._engine.add_request(name, {"prompt_token_ids": tokens}, params)
        except BadLine:
            raise
        except Exception as error:  # vLLM's refusals have no class in common; a bad line never ends the batch
            if "EngineDead" in type(error).__name__:
                raise
            raise BadLine("invalid_request", f"line {request.index + 1}: {error}", request.custom_id) from error
        self._prompts[name] = prompt

    def step(self) -> Iterable[tuple[int, Answer]]:
        """Work until something is finished or a step is done; (index, answer) of what is finished."""
        for output in self._engine.step():
            if output.finished:
                choices = (
                    Choice(o.text, o.finish_reason or "stop", len(o.token_ids))
                    for o in sorted(output.outputs, key=lambda o: o.index)
                )
                prompt = self._prompts.pop(output.request_id)
                yield int(output.request_id), Answer(tuple(choices), prompt, len(output.prompt_token_ids))

    def _check_length(self, request: Request, tokens: int) -> None:
        if tokens >= self.max_model_len:
            raise BadLine(
                "context_length_exceeded",
                f"line {request.index + 1}: the prompt has {tokens} tokens, and maxModelLen is {self.max_model_len},"
                " prompt and answer together",
                request.custom_id,
            )

    def _render(self, request: Request) -> str:
        if request.messages is None:
            return request.prompt
        kwargs: dict[str, Any] = {} if self._config.thinks is None else {"enable_thinking": self._config.thinks}
        try:
            text: str = self._tokenizer.apply_chat_template(
                request.messages,
                tools=request.tools,
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=True,
                **kwargs | dict(request.template_kwargs),
            )
        except Exception as error:  # the template is the checkpoint's, and says what it does not like in its own errors
            words = f"line {request.index + 1}: the chat template refuses it: {error}"
            raise BadLine("chat_template_error", words, request.custom_id) from error
        return text

    def _sampling(self, request: Request, room: int) -> Any:
        from vllm.sampling_params import RequestOutputKind

        said = request.sampling
        ours = self._config.sampling_thinking if self._thinks(request) else self._config.sampling_plain
        seed = {} if self._config.seed is None else {"seed": self._config.seed + request.index}
        values = {"max_tokens": room} | self._checkpoint_sampling | seed | dict(ours) | dict(said)
        if any(not 0 <= token < self._vocabulary for token in values.get("stop_token_ids") or ()):
            raise ValueError(f"stop_token_ids must be below {self._vocabulary}, the size of the vocabulary")
        values["max_tokens"] = min(int(values["max_tokens"]), room)
        return self._params(**values, output_kind=RequestOutputKind.FINAL_ONLY)

    def _thinks(self, request: Request) -> bool:
        default = self._config.thinks_by_default if self._config.thinks is None else self._config.thinks
        return request.messages is not None and bool(request.template_kwargs.get("enable_thinking", default))


def _engine_args(words: Sequence[str]) -> Any:
    """`words` read by vLLM's own parser, as `vllm serve` reads them."""
    from vllm import EngineArgs

    try:
        from vllm.utils.argparse_utils import FlexibleArgumentParser
    except ImportError:  # before vLLM 0.11.1
        from vllm.utils import FlexibleArgumentParser

    class Parser(FlexibleArgumentParser):  # type: ignore[misc] # Any where vLLM is not installed
        def error(self, message: str) -> None:
            """The operator has checked that this vLLM has the flag: one that is unknown here is only for servers."""
            if not message.startswith("unrecognized arguments"):
                super().error(message)
            print(f"not for offline inference, ignored: {message.partition(': ')[2]}", flush=True)

    parser = EngineArgs.add_cli_args(Parser(prog="vLLM's engine", allow_abbrev=False))
    return EngineArgs.from_cli_args(parser.parse_args(list(words)))
