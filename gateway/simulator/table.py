"""The rows of the API: the paths of the fact sheet's section 1 and Appendix A.1."""

from __future__ import annotations

from gateway.simulator import batches, files, messages, oauth, older, skills
from gateway.simulator.managed import managed_rows
from gateway.simulator.routes import MB, Route, Table

BATCHES = "/v1/messages/batches"
VERSIONS = "/v1/skills/{skill}/versions"
ROWS = [
    Route("POST", "/v1/messages", messages.create, inference=True),
    Route("POST", "/v1/messages/count_tokens", messages.count),
    Route("POST", "/v1/complete", older.complete, inference=True),
    Route("POST", "/v1/chat/completions", older.chat, inference=True, version=False, openai=True),
    Route("POST", "/v1/oauth/token", oauth.token, version=False),
    Route("GET", "/v1/models", messages.list_models),
    Route("GET", "/v1/models/{model}", messages.get_model),
    Route("POST", BATCHES, batches.create, limit=256 * MB),
    Route("GET", BATCHES, batches.list_all),
    Route("GET", BATCHES + "/{batch}", batches.get),
    Route("DELETE", BATCHES + "/{batch}", batches.delete),
    Route("POST", BATCHES + "/{batch}/cancel", batches.cancel),
    Route("GET", BATCHES + "/{batch}/results", batches.results),
    Route("POST", "/v1/files", files.upload, limit=0),
    Route("GET", "/v1/files", files.list_all),
    Route("GET", "/v1/files/{file}", files.get),
    Route("DELETE", "/v1/files/{file}", files.delete),
    Route("GET", "/v1/files/{file}/content", files.content),
    Route("POST", "/v1/skills", skills.create, limit=0),
    Route("GET", "/v1/skills", skills.list_all),
    Route("GET", "/v1/skills/{skill}", skills.get),
    Route("DELETE", "/v1/skills/{skill}", skills.delete),
    Route("POST", VERSIONS, skills.create_version, limit=0),
    Route("GET", VERSIONS, skills.list_versions),
    Route("GET", VERSIONS + "/{version}", skills.get_version),
    Route("DELETE", VERSIONS + "/{version}", skills.delete_version),
    Route("GET", VERSIONS + "/{version}/content", skills.content),
]


def api_table() -> Table:
    return Table([*ROWS, *managed_rows()])
