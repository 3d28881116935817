"""Has OpenAI's own client ask for answers of a given form and for calls of functions, and prints what it
saw as JSON. The model's weights may be random: what fits is held to.

    openai_forms.py BASE_URL MODEL
"""

import json
import sys
from typing import Literal

import openai
import pydantic

base_url, model = sys.argv[1:]
client = openai.OpenAI(base_url=base_url, api_key="unused", max_retries=0)


class Tide(pydantic.BaseModel):
    place: Literal["quay", "gate"]
    high: bool


asked = dict(
    model=model,
    messages=[{"role": "user", "content": "How is the tide?"}],
    temperature=1,
    max_tokens=200,
)


def whole(ask):
    """The first answer of some seeds that ends by itself: a random model may write to its limit."""
    for seed in range(10):
        try:
            return ask(seed=seed, **asked)
        except openai.LengthFinishReasonError:
            pass
    raise SystemExit("no answer ended by itself")


parsed = whole(lambda **asked: client.chat.completions.parse(response_format=Tide, **asked)).choices[0]

# Strict, as `parse` wants it.
tool = openai.pydantic_function_tool(Tide, name="tide")
called = whole(lambda **asked: client.chat.completions.parse(tools=[tool], tool_choice="required", **asked)).choices[0]


def read(**asked):
    with client.chat.completions.stream(
        tools=[tool],
        tool_choice={"type": "function", "function": {"name": "tide"}},
        stream_options={"include_usage": True},
        **asked,
    ) as stream:
        kinds = [event.type for event in stream]
        return kinds, stream.get_final_completion()


kinds, final = whole(read)

free = client.chat.completions.create(tools=[tool], tool_choice="auto", **{**asked, "max_tokens": 20})

refusals = []
wrong = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}
bad_tool = {"type": "function", "function": {"name": "x", "strict": True, "parameters": {"type": "nonsense"}}}
for more in ({"response_format": wrong}, {"tools": [bad_tool], "tool_choice": "required"}):
    try:
        client.chat.completions.create(**asked, **more)
    except openai.BadRequestError as error:
        refusals.append(error.param)

print(json.dumps({
    "parsed": parsed.message.parsed.model_dump(),
    "parsed_reason": parsed.finish_reason,
    "calls": [call.function.parsed_arguments.model_dump() for call in called.message.tool_calls],
    "called_reason": called.finish_reason,
    "streamed": final.choices[0].message.tool_calls[0].function.parsed_arguments.model_dump(),
    "streamed_reason": final.choices[0].finish_reason,
    "streamed_pieces": kinds.count("tool_calls.function.arguments.delta"),
    "usage": final.usage.total_tokens,
    "free_reason": free.choices[0].finish_reason,
    "refusals": refusals,
}))
