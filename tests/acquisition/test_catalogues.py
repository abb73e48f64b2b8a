"""Catalogues are asked by their own libraries; a snapshot that stands in for one says so."""

import io
import json
import sys
import time
from datetime import date
from types import SimpleNamespace

import pytest

from slmlab.acquisition import azure_models, compare, mirror, search_models
from slmlab.errors import FetchError, NotPossibleHere, UnknownModel
from slmlab.tiers import cards

ON_HUB = [
    ("a/large", 3_000_000_000, "mit", "text-generation"),
    ("a/medium-chat", 900_000_000, "apache-2.0", "text-generation"),
    ("a/unsized", None, "apache-2.0", "text-generation"),
    ("a/small-chat", 100_000_000, "mit", "text-generation"),
]

IN_REGISTRY = {
    "Phi-4-mini-instruct": {
        "license": "MIT",
        "task": "chat-completion",
        "textContextWindow": "131072",
    },
    "whisper-tiny": {"license": "apache-2.0", "task": "automatic-speech-recognition"},
}


class Listing(mirror.Handler):
    """Lists `ON_HUB` in the form of the Hub's API, whatever models are asked for."""

    def _answer(self):
        if not self.path.startswith("/api/models?"):
            return super()._answer()
        self.server.requests.append(self.path)
        body = json.dumps(
            [
                {
                    "id": name,
                    "pipeline_tag": task,
                    "tags": ["gguf", f"license:{licence}"],
                    **({"safetensors": {"total": total, "parameters": {}}} if total else {}),
                }
                for name, total, licence, task in ON_HUB
            ]
        ).encode()
        self._head(200, {"Content-Type": "application/json", "Content-Length": len(body)})
        return self.wfile.write(body)


@pytest.fixture
def listing(monkeypatch):
    with mirror.serve({}, Listing) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield running


class TestTheHub:
    def test_is_asked_with_its_own_words(self, listing):
        search_models("chat", max_parameters=1.5e9, licence="mit", task="text-generation")
        [question] = [path for path in listing.requests if path.startswith("/api/models?")]
        for word in (
            "search=chat",
            "pipeline_tag=text-generation",
            "num_parameters=max%3A2B",
            "filter=license%3Amit",
            "sort=downloads",
            "expand=safetensors",
        ):
            assert word in question

    def test_answers_smallest_first_and_as_published_today(self, listing):
        found = search_models()
        assert list(found.repository) == ["a/small-chat", "a/medium-chat", "a/large"]
        assert list(found.parameters) == [100_000_000, 900_000_000, 3_000_000_000]
        assert set(found.how) == {"published"}
        assert set(found.date) == {date.today().isoformat()}
        assert set(found.source) == {"Hugging Face Hub"}

    def test_is_filtered_exactly(self, listing):
        assert list(search_models(max_parameters=1e9, licence="mit").repository) == ["a/small-chat"]
        assert list(search_models(min_parameters=1e9).repository) == ["a/large"]
        assert list(search_models("CHAT", limit=1).repository) == ["a/medium-chat"]
        assert search_models(task="translation").empty


class TestTheHubsSnapshot:
    def test_says_that_it_is_recorded_and_of_when(self):
        found = search_models(offline=True)
        assert set(found.how) == {"recorded"}
        assert set(found.date) == {"2026-11-21"}
        assert found.source.str.len().min() > 0

    def test_is_filtered_by_size_licence_and_task(self):
        small = search_models(max_parameters=1e9, licence="apache-2.0", offline=True)
        assert "HuggingFaceTB/SmolLM2-135M-Instruct" in set(small.repository)
        assert small.parameters.max() <= 1e9
        assert set(small.licence) == {"apache-2.0"}
        assert small.parameters.is_monotonic_increasing
        assert len(search_models(task="automatic-speech-recognition", offline=True)) == 1

    def test_agrees_with_the_model_cards(self):
        found = search_models(offline=True, limit=100).set_index("repository")
        for model in cards().values():
            if model.repository in found.index:
                row = found.loc[model.repository]
                assert (row.parameters, row.licence) == (model.parameters, model.licence.lower())


class TestAzure:
    """Microsoft's own client, with a stand-in only for the network beneath it."""

    @pytest.fixture
    def client(self):
        import requests
        from azure.ai import ml
        from azure.core.credentials import AccessToken
        from azure.core.pipeline.transport import RequestsTransport

        class SignedIn:
            def get_token(self, *_, **__):
                return AccessToken("token", int(time.time()) + 3600)

        class StandIn(requests.adapters.BaseAdapter):
            def send(self, request, **_):
                response = requests.Response()
                response.status_code, response.request, response.url = 200, request, request.url
                response.headers["Content-Type"] = "application/json"
                response.raw = io.BytesIO(json.dumps(answer(request.url)).encode())
                return response

            def close(self):
                pass

        def answer(url):
            if "registrymanagement" in url:
                return {
                    "registryName": "azureml",
                    "primaryRegionResourceProviderUri": "https://registry.invalid/",
                    "subscriptionId": "0",
                    "resourceGroup": "group",
                    "registryFqdns": {},
                }
            if "/versions" in url:
                name = url.split("/models/")[1].split("/")[0]
                about = {"tags": IN_REGISTRY[name], "flavors": {}, "modelUri": "azureml://x"}
                path = f"azureml://registries/azureml/models/{name}/versions/7"
                version = {"id": path, "name": "7", "properties": about}
                return version if "/versions/7" in url else {"value": [version]}
            assert "listViewType=ActiveOnly" in url
            about = {"isArchived": False, "latestVersion": "7"}
            names = [{"id": name, "name": name, "properties": about} for name in IN_REGISTRY]
            return {"value": names}

        session = requests.Session()
        session.mount("https://", StandIn())
        return ml.MLClient(
            SignedIn(),
            registry_name="azureml",
            transport=RequestsTransport(session=session, session_owner=False),
            enable_telemetry=False,
        )

    def test_the_catalogue_as_published_today(self, client):
        [row] = azure_models("phi", client=client).to_dict("records")
        assert row == {
            "name": "Phi-4-mini-instruct",
            "registry": "azureml",
            "version": "7",
            "task": "chat-completion",
            "licence": "mit",
            "context": 131072,
            "file_bytes": None,
            "how": "published",
            "date": date.today().isoformat(),
            "source": "Azure AI Foundry",
        }

    def test_what_the_catalogue_leaves_out_stays_empty(self, client):
        [row] = azure_models("whisper", client=client).to_dict("records")
        assert row["context"] is None

    @pytest.mark.parametrize(
        "problem", [IndexError("index 0\nis out of range"), RecursionError("too deep")], ids=repr
    )
    def test_whatever_its_client_raises_is_said_in_a_sentence(self, problem, capsys):
        def fails(**_):
            raise problem

        client = SimpleNamespace(models=SimpleNamespace(list=fails))
        with pytest.raises(NotPossibleHere, match="did not answer as it should") as refused:
            azure_models(offline=False, client=client)
        assert "\n" not in str(refused.value)
        assert set(azure_models(client=client).how) == {"recorded"}
        assert "Shown instead: what was recorded." in capsys.readouterr().out

    def test_the_snapshot_says_that_it_is_recorded(self):
        found = azure_models("qwen", offline=True)
        assert set(found.how) == {"recorded"}
        assert set(found.date) == {"2026-11-21"}
        assert found.source.str.contains("spec.yaml").all()
        assert (found.file_bytes > 100e6).all()

    def test_without_its_library_it_says_what_to_install(self, monkeypatch, capsys):
        monkeypatch.setitem(sys.modules, "azure.ai.ml", None)
        with pytest.raises(NotPossibleHere, match=r"pip install azure-ai-ml azure-identity"):
            azure_models(offline=False)
        assert set(azure_models().how) == {"recorded"}
        assert "azure-ai-ml" in capsys.readouterr().out


class TestCompare:
    def test_is_one_row_a_model_in_the_order_asked_for(self):
        table = compare(["qwen3-0.6b", "smollm2-135m-instruct"])
        assert list(table.index) == ["Qwen3 0.6B", "SmolLM2 135M Instruct"]
        smol = table.loc["SmolLM2 135M Instruct"]
        assert (smol.parameters, smol.f16_bytes) == (134_515_008, 269_030_016)
        assert smol.embedding_share == pytest.approx(49152 * 576 / 134_515_008)
        assert smol.kv_cache_bytes == 4096 * 30 * 2 * 3 * 64 * 2
        assert not smol.must_be_accepted

    def test_says_which_licence_must_be_accepted(self):
        assert compare(["gemma-3-270m"]).must_be_accepted.all()

    def test_unknown_name(self):
        with pytest.raises(UnknownModel):
            compare(["no-such-model"])


class TestAHubThatAnswersWrongly:
    @pytest.fixture(params=["not JSON", "[1]", '{"id": 5}', '[{"safetensors": {"total": 1}}]'])
    def wrong(self, request, monkeypatch):
        class Wrong(mirror.Handler):
            def _answer(self):
                body = request.param.encode()
                self._head(200, {"Content-Type": "text/html", "Content-Length": len(body)})
                if self.command == "GET":
                    self.wfile.write(body)

        with mirror.serve({}, Wrong) as running:
            monkeypatch.setenv("HF_ENDPOINT", running.address)
            monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
            yield running

    def test_is_said_in_a_sentence(self, wrong):
        with pytest.raises(FetchError, match="did not give its list of models") as refused:
            search_models(offline=False)
        assert "\n" not in str(refused.value)

    def test_is_replaced_by_the_snapshot(self, wrong, capsys):
        assert set(search_models().how) == {"recorded"}
        assert "Shown is what was recorded, for the Hugging Face Hub" in capsys.readouterr().out
