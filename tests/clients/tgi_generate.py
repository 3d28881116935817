"""Has Hugging Face's client generate text and chat, and prints what it saw as JSON.

    tgi_generate.py BASE_URL MODEL
"""

import json
import sys

from huggingface_hub import InferenceClient

base_url, model = sys.argv[1:]
client = InferenceClient(model=base_url)
asked = dict(prompt="The tide", max_new_tokens=12)
plain = client.text_generation(**asked)
details = client.text_generation(details=True, **asked)
streamed = "".join(client.text_generation(stream=True, **asked))
lines = list(client.text_generation(stream=True, details=True, **asked))
full = client.text_generation(return_full_text=True, **asked)
grammar = {"type": "json", "value": {"type": "object", "properties": {"high": {"type": "boolean"}}, "required": ["high"], "additionalProperties": False}}
held = client.text_generation(
    "The tide is", max_new_tokens=300, do_sample=True, temperature=1.0, seed=3, grammar=grammar
)
# For an address the client calls the model "dummy".
chatted = dict(
    messages=[{"role": "user", "content": "Hello"}], temperature=0.0, max_tokens=12, extra_body={"model": model}
)
chat = client.chat_completion(**chatted)
parts = client.chat_completion(stream=True, **chatted)

print(json.dumps({
    "plain": plain,
    "details": details.generated_text,
    "tokens": [token.text for token in details.details.tokens],
    "generated_tokens": details.details.generated_tokens,
    "reason": details.details.finish_reason,
    "streamed": streamed,
    "lines": [line.token.text for line in lines],
    "last": lines[-1].generated_text,
    "full": full,
    "held": json.loads(held),
    "chat": chat.choices[0].message.content,
    "chat_streamed": "".join(part.choices[0].delta.content or "" for part in parts if part.choices),
}))
