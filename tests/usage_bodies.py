"""What providers reported of real requests, and the counts it means."""

from __future__ import annotations

from typing import Any, Final

# Usage as providers reported it to real requests. Expected: input, output, cache read, cache write, reasoning.
RECORDED: Final[list[tuple[str, dict[str, Any], tuple[int | None, ...]]]] = [
    (
        "openai/chat.completions",
        {
            "usage": {
                "prompt_tokens": 59,
                "completion_tokens": 123,
                "total_tokens": 182,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 43, "text_tokens": 16, "image_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0, "text_tokens": 123},
            }
        },
        (59, 123, 0, None, 0),
    ),
    (
        "openai/responses",
        {
            "usage": {
                "input_tokens": 1586,
                "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 1536},
                "output_tokens": 393,
                "output_tokens_details": {"reasoning_tokens": 320},
                "total_tokens": 1979,
            }
        },
        (1586, 393, 1536, 0, 320),
    ),
    (
        "openai/completions",
        {"usage": {"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9}},
        (4, 5, None, None, None),
    ),
    ("openai/embeddings", {"usage": {"prompt_tokens": 8, "total_tokens": 8}}, (8, None, None, None, None)),
    (
        "openai/threads.runs",
        {
            "usage": {
                "prompt_tokens": 381,
                "completion_tokens": 89,
                "total_tokens": 470,
                "prompt_token_details": {"cached_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0},
            }
        },
        (381, 89, 0, None, 0),
    ),
    (
        "anthropic/messages",
        {
            "usage": {
                "input_tokens": 6,
                "cache_creation_input_tokens": 1069,
                "cache_read_input_tokens": 1024,
                "cache_creation": {"ephemeral_5m_input_tokens": 1069, "ephemeral_1h_input_tokens": 0},
                "output_tokens": 61,
                "output_tokens_details": {"thinking_tokens": 28},
                "service_tier": "standard",
            }
        },
        (2099, 61, 1024, 1069, 28),
    ),
    (
        "gemini/generate_content",
        {
            "usageMetadata": {
                "promptTokenCount": 427,
                "candidatesTokenCount": 122,
                "totalTokenCount": 1767,
                "toolUsePromptTokenCount": 771,
                "thoughtsTokenCount": 447,
                "cachedContentTokenCount": 400,
            }
        },
        (1198, 569, 400, None, 447),
    ),
    ("gemini/embeddings.batch", {"usageMetadata": {"promptTokenCount": 261}}, (261, None, None, None, None)),
    (
        "gemini/interactions",
        {
            "usage": {
                "total_input_tokens": 1000,
                "total_cached_tokens": 800,
                "total_output_tokens": 50,
                "total_thought_tokens": 30,
                "total_tool_use_tokens": 20,
                "total_tokens": 1100,
            }
        },
        (1020, 80, 800, None, 30),
    ),
    (
        "deepseek/chat.completions",
        {
            "usage": {
                "completion_tokens": 116,
                "completion_tokens_details": {"reasoning_tokens": 60},
                "prompt_cache_hit_tokens": 512,
                "prompt_cache_miss_tokens": 51,
                "prompt_tokens": 563,
                "prompt_tokens_details": {"cached_tokens": 512},
                "total_tokens": 679,
            }
        },
        (563, 116, 512, None, 60),
    ),
    (
        "deepseek/responses",
        {
            "usage": {
                "input_tokens": 29386,
                "input_tokens_details": {"cached_tokens": 15872},
                "output_tokens": 1450,
                "output_tokens_details": {"reasoning_tokens": 733},
                "total_tokens": 30836,
            }
        },
        (29386, 1450, 15872, None, 733),
    ),
    (
        "openrouter/responses",
        {
            "usage": {
                "cost": 0.025265,
                "input_tokens": 4020,
                "output_tokens": 5,
                "total_tokens": 4025,
                "is_byok": False,
                "input_tokens_details": {"cache_write_tokens": 4012, "cached_tokens": 0},
            }
        },
        (4020, 5, 0, 4012, None),
    ),
    # The reasoning of some compatible servers stands beside the output: the total tells.
    (
        "openai_compatible/chat.completions",
        {
            "usage": {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 22,
                "completion_tokens_details": {"reasoning_tokens": 7},
            }
        },
        (10, 12, None, None, 7),
    ),
    (
        "openai_compatible/chat.completions",
        {"x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 1}}},
        (3, 1, None, None, None),
    ),
]
