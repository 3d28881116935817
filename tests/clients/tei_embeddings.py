"""Embeds its arguments with Hugging Face's own client and prints the vectors as JSON.

    tei_embeddings.py URL TEXT...
"""

import json
import sys

import huggingface_hub

url, *texts = sys.argv[1:]
client = huggingface_hub.InferenceClient(model=url, token="unused")
try:
    client.feature_extraction("")
    refusal = None
except huggingface_hub.errors.HfHubHTTPError as error:
    refusal = error.response.json()["error_type"]
print(json.dumps({
    "vectors": client.feature_extraction(texts).tolist(),
    "one": client.feature_extraction(
        texts[0], normalize=True, truncate=True, truncation_direction="right"
    ).tolist(),
    "similarity": client.sentence_similarity(
        texts[0], texts[1:], model=f"{url}/similarity"
    ),
    "refusal": refusal,
}))
