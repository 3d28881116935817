"""Embeds its arguments with OpenAI's own client and prints the vectors as JSON.

    openai_embeddings.py BASE_URL MODEL TEXT...
"""

import json
import sys

import openai

base_url, model, *texts = sys.argv[1:]
client = openai.OpenAI(base_url=base_url, api_key="unused", max_retries=0)
answer = client.embeddings.create(model=model, input=texts)
models = [model.id for model in client.models.list()]
try:
    client.embeddings.create(model="no-such-model", input="x")
    refusal = None
except openai.NotFoundError as error:
    refusal = error.code
print(json.dumps({
    "vectors": [item.embedding for item in answer.data],
    "prompt_tokens": answer.usage.prompt_tokens,
    "models": models,
    "refusal": refusal,
}))
