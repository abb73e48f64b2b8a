"""BitNet in small: train a Llama with three-valued weights, and take it to llama.cpp."""
