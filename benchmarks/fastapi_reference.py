"""What many would write first: `FOLDER=… uvicorn benchmarks.fastapi_reference:app`."""

import os

import torch
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline

app = FastAPI()
classify = pipeline("text-classification", os.environ["FOLDER"], device="cpu")


class Request(BaseModel):
    inputs: str


@app.post("/")  # async: one text after the other, which is no slower than FastAPI's forty threads at once
async def answer(request: Request) -> list[dict[str, str | float]]:
    with torch.inference_mode():
        return classify(request.inputs)
