"""Uses the client that was generated from docs/openapi.yaml.

    generated_client.py URL FILE_OF_LINES
"""

import io
import sys
import time
from pathlib import Path

from tidegate_client import Client
from tidegate_client.api.batches import create_batch, create_file, get_batch, get_file_content, list_batches
from tidegate_client.api.embeddings import create_embeddings, embed
from tidegate_client.api.generation import create_chat_completion
from tidegate_client.api.models import list_models
from tidegate_client.models import (
    BatchRequest, BatchRequestEndpoint, BatchStatus, ChatRequest, EmbeddingRequest, EmbedRequest, FileUpload,
    FileUploadPurpose, Message, OpenAiError,
)
from tidegate_client.types import File

url, lines = sys.argv[1], Path(sys.argv[2])
client = Client(base_url=url, timeout=60)

assert {model.id for model in list_models.sync(client=client).data} == {"all-MiniLM-L6-v2", "SmolLM2-135M-Instruct"}

answer = create_embeddings.sync(client=client, body=EmbeddingRequest(model="all-MiniLM-L6-v2", input_=["a", "b"]))
assert [len(item.embedding) for item in answer.data] == [384, 384]
assert len(embed.sync(client=client, body=EmbedRequest(model="all-MiniLM-L6-v2", inputs="a"))[0]) == 384

refused = create_embeddings.sync(client=client, body=EmbeddingRequest(model="unknown", input_="a"))
assert isinstance(refused, OpenAiError) and refused.error.code == "model_not_found", refused

chat = ChatRequest(model="SmolLM2-135M-Instruct", messages=[Message(role="user", content="hi")], max_tokens=4)
assert create_chat_completion.sync(client=client, body=chat, x_priority="interactive").usage.completion_tokens == 4

upload = File(payload=io.BytesIO(lines.read_bytes()), file_name=lines.name, mime_type="application/jsonl")
file = create_file.sync(client=client, body=FileUpload(purpose=FileUploadPurpose.BATCH, file=upload))
asked = BatchRequest(input_file_id=file.id, endpoint=BatchRequestEndpoint.VALUE_0, completion_window="24h")
batch = create_batch.sync(client=client, body=asked)
until = time.monotonic() + 60
while batch.status != BatchStatus.COMPLETED and time.monotonic() < until:
    time.sleep(0.5)
    batch = get_batch.sync(batch.id, client=client)
assert batch.request_counts.completed == 1, batch
assert b'"embedding"' in get_file_content.sync(batch.output_file_id, client=client).payload.read()
assert batch.id in [one.id for one in list_batches.sync(client=client).data]
