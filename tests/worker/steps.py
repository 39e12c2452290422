"""Steps of a worker, taken by the test itself."""

from django_simpletask3.execution import start
from django_simpletask3.execution.run import Run
from django_simpletask3.queue import get_queue
from django_simpletask3.worker.pipeline import ModelPipeline

WORKER = "node:1:token"


def start_waiting(pipeline: ModelPipeline, limit: int = 10, lease: float = 60.0) -> list[Run]:
    """Claim the waiting messages of the pipeline's model and start their tasks."""
    worker = pipeline.worker
    messages = get_queue().claim(pipeline.channel, worker=worker, limit=limit, lease=lease)
    runs, _postponed = start.start(pipeline.model, messages, worker=worker, lease=lease)
    return runs
