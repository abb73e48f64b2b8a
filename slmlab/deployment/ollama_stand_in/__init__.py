"""A small stand-in for Ollama's server: its REST API over our own llama.cpp engine.

It reads the same environment variables and answers the same requests with the same JSON as far as
lab 08 goes, checked against Ollama's documentation and sources of 2026. It is not Ollama: it runs
one request a model at a time, keeps no memory of earlier prompts, takes weights from GGUF files
alone, and knows no embeddings, images, tools, output formats or log probabilities. A request
that it does not know, it refuses in a sentence; an option that it does not know is ignored, and its
log names it.
"""

VERSION = "0.0.0-stand-in"
