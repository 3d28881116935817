"""Runs a batch with OpenAI's own client, and prints what became of it as JSON.

    openai_batches.py BASE_URL run FILE ENDPOINT       begin to end; "batch ID" is printed once it is begun
    openai_batches.py BASE_URL cancel FILE ENDPOINT    the same, cancelled once half is answered
    openai_batches.py BASE_URL expire FILE ENDPOINT    the same, with a window of one second
    openai_batches.py BASE_URL refuse FILE             the words with which the file is refused
    openai_batches.py BASE_URL tour FILE ENDPOINT      every call that there is

It brings the key OWN_KEY; a stranger in it brings OTHER_KEY.
"""

import json
import os
import sys
import time

import openai

base_url, act, *rest = sys.argv[1:]
client = openai.OpenAI(base_url=base_url, api_key=os.environ.get("OWN_KEY", "tg-shop"), max_retries=0)
ENDED = {"completed", "failed", "expired", "cancelled"}


def begin(file, endpoint, window="24h"):
    with open(file, "rb") as opened:
        uploaded = client.files.create(file=opened, purpose="batch")
    batch = client.batches.create(
        input_file_id=uploaded.id, endpoint=endpoint, completion_window=window, metadata={"of": "test"}
    )
    print("batch", batch.id, flush=True)
    return uploaded, batch


def look(batch):
    """The batch, however often the service is killed meanwhile."""
    while True:
        try:
            return client.batches.retrieve(batch.id)
        except (openai.APIConnectionError, openai.InternalServerError):
            time.sleep(0.05)


def wait(batch, is_over=lambda batch: batch.status in ENDED):
    while not is_over(batch := look(batch)):
        time.sleep(0.05)
    return batch


def lines(file):
    return [json.loads(line) for line in client.files.content(file).text.splitlines()] if file else []


def result(batch):
    return {
        "status": batch.status,
        "counts": batch.request_counts.model_dump(),
        "output": lines(batch.output_file_id),
        "errors": lines(batch.error_file_id),
        "faults": [fault.message for fault in batch.errors.data] if batch.errors else [],
    }


def tour(file, endpoint):
    uploaded, batch = begin(file, endpoint)
    stranger = openai.OpenAI(base_url=base_url, api_key=os.environ.get("OTHER_KEY", "tg-other"), max_retries=0)
    seen = {}
    for name, call in {
        "strange_file": lambda: stranger.files.retrieve(uploaded.id),
        "strange_batch": lambda: stranger.batches.retrieve(batch.id),
        "strange_cancel": lambda: stranger.batches.cancel(batch.id),
        "file_in_use": lambda: client.files.delete(uploaded.id),
        "endpoint": lambda: client.batches.create(
            input_file_id=uploaded.id, endpoint="/v1/rerank", completion_window="24h"
        ),
        "no_file": lambda: client.files.content("file-" + "0" * 24),
        "purpose": lambda: client.files.create(file=b"x", purpose="fine-tune"),
        "window": lambda: client.batches.create(
            input_file_id=uploaded.id, endpoint=endpoint, completion_window="9999h"
        ),
    }.items():
        try:
            call()
            seen[name] = None
        except openai.APIStatusError as error:
            seen[name] = [error.status_code, error.code]
    batch = wait(batch)
    seen["input_is_kept"] = client.files.content(uploaded.id).content == open(file, "rb").read()
    seen["files"] = sorted(found.id for found in client.files.list(limit=1))
    seen["expected_files"] = sorted(filter(None, [uploaded.id, batch.output_file_id, batch.error_file_id]))
    seen["batches"] = [found.id for found in client.batches.list(limit=1)] == [batch.id]
    seen["theirs"] = [len(stranger.files.list().data), len(stranger.batches.list().data)]
    seen["metadata"] = batch.metadata
    seen["deleted"] = client.files.delete(uploaded.id).deleted
    return {**result(batch), "seen": seen}


if act == "refuse":
    try:
        begin(rest[0], "/v1/embeddings")
    except openai.BadRequestError as error:
        print(json.dumps({"code": error.code, "message": error.body["message"]}))
elif act == "tour":
    print(json.dumps(tour(*rest)))
else:
    _, batch = begin(*rest, **({"window": "1s"} if act == "expire" else {}))
    if act == "cancel":
        half = lambda batch: batch.request_counts.completed * 2 >= batch.request_counts.total
        wait(batch, half)
        client.batches.cancel(batch.id)
    print(json.dumps(result(wait(batch))))
