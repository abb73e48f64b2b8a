"""What a request may hold, in Ollama's form and in OpenAI's."""

from typing import Any

from pydantic import BaseModel, Field

from slmlab.deployment.ollama_stand_in.failure import Failure


class Named(BaseModel):
    """A request that names a model; `name` is what older clients call it."""

    model: str = ""
    name: str = ""

    def called(self) -> str:
        """Return the name, or raise `Failure` where there is none."""
        if not (self.model or self.name):
            raise Failure("model is required")
        return self.model or self.name


class Message(BaseModel):
    """One message of a chat."""

    role: str
    content: str
    images: list | None = None


class Ask(Named):
    """What `generate` and `chat` have in common."""

    options: dict[str, Any] | None = None
    stream: bool = True
    keep_alive: float | str | None = None
    truncate: bool = True
    format: Any = None
    think: Any = None
    logprobs: Any = None


class Generate(Ask):
    """A request to continue a text or answer one question."""

    prompt: str = ""
    system: str = ""
    template: str = ""
    raw: bool = False
    suffix: str | None = None
    images: list | None = None
    context: list | None = None


class Chat(Ask):
    """A request to answer the last of some messages."""

    messages: list[Message] = Field(default_factory=list)
    tools: list | None = None


class Create(Named):
    """A request to make a model out of weights or another model."""

    from_: str = Field("", alias="from")
    files: dict[str, str] = Field(default_factory=dict)
    template: str = ""
    system: str = ""
    license: str | list[str] = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    messages: list[Message] = Field(default_factory=list)
    adapters: dict[str, str] | None = None
    quantize: str | None = None
    stream: bool = True


class Stream(Named):
    """A request whose answer may come as a stream."""

    stream: bool = True


class Copy(BaseModel):
    """A request to give a model a second name."""

    source: str
    destination: str


class StreamOptions(BaseModel):
    """What a stream in OpenAI's form should end with."""

    include_usage: bool = False


class Part(BaseModel):
    """A piece of a message in OpenAI's form; the stand-in takes text alone."""

    type: str
    text: str = ""


class OpenAIMessage(BaseModel):
    """One message in OpenAI's form."""

    role: str
    content: str | list[Part]

    def plain(self) -> Message:
        """Return it in Ollama's form."""
        if isinstance(self.content, str):
            return Message(role=self.role, content=self.content)
        if any(part.type != "text" for part in self.content):
            raise Failure("the stand-in reads no images")
        return Message(role=self.role, content="".join(part.text for part in self.content))


class Completion(BaseModel):
    """A chat request in OpenAI's form."""

    model: str = ""
    messages: list[OpenAIMessage] = Field(default_factory=list)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = 1.0
    top_p: float | None = 1.0
    seed: int | None = None
    stop: str | list[str] | None = None
    response_format: dict[str, Any] | None = None
    tools: Any = None

    def chat(self) -> Chat:
        """Return it in Ollama's form."""
        options = {
            "num_predict": self.max_completion_tokens or self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
            "stop": self.stop,
        }
        plain = (self.response_format or {}).get("type") == "text"
        return Chat(
            model=self.model,
            messages=[message.plain() for message in self.messages],
            stream=self.stream,
            options=options,
            format=None if plain else self.response_format,
            tools=self.tools,
        )
