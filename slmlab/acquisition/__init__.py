"""A model's name in, a verified file out; and the catalogues in which models are found."""

from slmlab.acquisition.catalogues import azure_models, compare, search_models
from slmlab.acquisition.fetching import ModelFile, cached, fetch, is_here, verify
from slmlab.acquisition.llama_cpp_source import source_tree

__all__ = [
    "ModelFile",
    "azure_models",
    "cached",
    "compare",
    "fetch",
    "is_here",
    "search_models",
    "source_tree",
    "verify",
]
