"""Chats with LangChain's client, plain, streamed, held to a class and with a tool, and prints what it saw
as JSON.

    langchain_chat.py BASE_URL MODEL
"""

import json
import sys
from typing import Literal

import openai
import pydantic
from langchain_openai import ChatOpenAI

base_url, model = sys.argv[1:]


class Tide(pydantic.BaseModel):
    """How the water stands."""

    place: Literal["quay", "gate"]
    high: bool


chat = ChatOpenAI(
    base_url=base_url,
    api_key="unused",
    model=model,
    temperature=0,
    max_tokens=12,
    max_retries=0,
    stream_usage=True,
    extra_body={"ignore_eos": True},
)
plain = chat.invoke("Hello")
streamed, usage = "", None
for chunk in chat.stream("Hello"):
    streamed += chunk.content
    usage = chunk.usage_metadata or usage

def whole(ask):
    """The first answer of some seeds that ends by itself: a random model may write to its limit."""
    for seed in range(10):
        held = ChatOpenAI(
            base_url=base_url, api_key="unused", model=model, temperature=1, seed=seed, max_tokens=200, max_retries=0
        )
        try:
            found = ask(held)
        except openai.LengthFinishReasonError:
            continue
        if found is not None:
            return found
    raise SystemExit("no answer ended by itself")


def structured(method):
    return whole(lambda held: held.with_structured_output(Tide, method=method).invoke("How is the tide?"))


schema = structured("json_schema")
function = structured("function_calling")


def calling(held):
    answer = held.bind_tools([Tide], tool_choice="required", parallel_tool_calls=False).invoke("How is the tide?")
    return answer if answer.tool_calls else None


bound = whole(calling)

print(json.dumps({
    "plain": plain.content,
    "reason": plain.response_metadata["finish_reason"],
    "streamed": streamed,
    "usage": usage["output_tokens"],
    "schema": schema.model_dump(),
    "function": function.model_dump(),
    "tools": [call["name"] for call in bound.tool_calls],
}))
