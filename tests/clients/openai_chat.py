"""Chats with OpenAI's own client and with that of Hugging Face, and prints what each saw as JSON.

    openai_chat.py BASE_URL MODEL
"""

import json
import sys

import huggingface_hub
import openai

base_url, model = sys.argv[1:]
client = openai.OpenAI(base_url=base_url, api_key="unused", max_retries=0)
asked = dict(
    model=model,
    messages=[{"role": "user", "content": "Hello"}],
    temperature=0,
    max_tokens=12,
    extra_body={"ignore_eos": True},
)
plain = client.chat.completions.create(**asked)

streamed, usage, reasons = "", None, []
for chunk in client.chat.completions.create(
    stream=True, stream_options={"include_usage": True}, **asked
):
    if chunk.usage:
        usage = chunk.usage.total_tokens
    for choice in chunk.choices:
        streamed += choice.delta.content or ""
        if choice.finish_reason:
            reasons.append(choice.finish_reason)

refusals = []
for wrong in ({"temperature": 9}, {"functions": [{"name": "f"}]}, {"max_tokens": 100_000}):
    try:
        client.chat.completions.create(**{**asked, **wrong})
    except openai.BadRequestError as error:
        refusals.append(error.param or error.code)

completion = client.completions.create(
    model=model, prompt="The tide", max_tokens=3, logprobs=1, echo=True
)
theirs = huggingface_hub.InferenceClient(base_url=base_url, api_key="unused")
other = theirs.chat_completion(
    asked["messages"], model=model, temperature=0.0, max_tokens=12, extra_body={"ignore_eos": True}
)
print(json.dumps({
    "plain": plain.choices[0].message.content,
    "prompt_tokens": plain.usage.prompt_tokens,
    "streamed": streamed,
    "usage": usage,
    "reasons": reasons,
    "refusals": refusals,
    "echoed": completion.choices[0].text,
    "scored": len(completion.choices[0].logprobs.tokens),
    "other": other.choices[0].message.content,
}))
