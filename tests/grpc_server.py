"""A real gRPC server on loopback that answers chat completions, from the stubs that an SDK ships."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
from xai_sdk.proto import chat_pb2, chat_pb2_grpc, sample_pb2, usage_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = "grok-4.7"
CREATED = 1_795_000_000


def usage(**counts: int) -> Any:
    """Return the usage of a completion: 100 tokens in, 64 of them cached, 20 out, 30 thought."""
    figures = {
        "prompt_tokens": 100,
        "prompt_text_tokens": 90,
        "prompt_image_tokens": 10,
        "cached_prompt_text_tokens": 64,
        "completion_tokens": 20,
        "reasoning_tokens": 30,
        "total_tokens": 150,
        "cost_in_usd_ticks": 12_345_678,
    }
    return usage_pb2.SamplingUsage(**{**figures, **counts})


def completion(number: int) -> Any:
    """Return the answer to the request of this number."""
    call = chat_pb2.ToolCall(id=f"call-{number}", function=chat_pb2.FunctionCall(name="look", arguments='{"a": "b c"}'))
    message = chat_pb2.CompletionMessage(
        content="Hello there.", role=chat_pb2.MessageRole.ROLE_ASSISTANT, tool_calls=[call]
    )
    settings = chat_pb2.RequestSettings(user="user-1", previous_response_id="resp-0", store_messages=True)
    answer = chat_pb2.GetChatCompletionResponse(
        id=f"resp-{number}",
        model=MODEL,
        system_fingerprint="fp_grpc01",
        outputs=[chat_pb2.CompletionOutput(finish_reason=sample_pb2.FinishReason.REASON_STOP, message=message)],
        usage=usage(),
        settings=settings,
        citations=["https://example.com/a-page"],
        service_tier=usage_pb2.ServiceTier.SERVICE_TIER_PRIORITY,
    )
    answer.created.seconds = CREATED
    return answer


def chunks(number: int) -> Iterator[Any]:
    """Yield the same answer in three pieces; their figures are running totals."""
    words = ["Hello ", "there", "."]
    for index, word in enumerate(words):
        is_last = index == len(words) - 1
        delta = chat_pb2.Delta(content=word, role=chat_pb2.MessageRole.ROLE_ASSISTANT)
        output = chat_pb2.CompletionOutputChunk(delta=delta)
        if is_last:
            output.finish_reason = sample_pb2.FinishReason.REASON_STOP
        chunk = chat_pb2.GetChatCompletionChunk(
            id=f"resp-{number}",
            model=MODEL,
            system_fingerprint="fp_grpc01",
            outputs=[output],
            usage=usage() if is_last else usage(completion_tokens=index, total_tokens=130 + index, cost_in_usd_ticks=0),
        )
        chunk.created.seconds = CREATED
        yield chunk


class Chat(chat_pb2_grpc.ChatServicer):
    """Answers by number; a request for the model ``busy`` fails, in a stream after its first chunk."""

    def __init__(self) -> None:
        self.requests = 0

    def _next(self) -> int:
        self.requests += 1
        return self.requests

    def GetCompletion(self, request: Any, context: Any) -> Any:  # noqa: N802  the protocol's name
        """Answer with one message."""
        if request.model == "busy":
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too much")
        return completion(self._next())

    def GetCompletionChunk(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        """Answer with a stream."""
        for chunk in chunks(self._next()):
            yield chunk
            if request.model == "busy":
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too much")


class GrpcServer:
    """The server; ``address`` is where it listens."""

    def __init__(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(4))
        chat_pb2_grpc.add_ChatServicer_to_server(Chat(), self._server)
        self.address = f"localhost:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def close(self) -> None:
        """Stop listening, at once."""
        self._server.stop(None).wait()
