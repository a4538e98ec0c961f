"""The rows of the API: the paths of the fact sheet's section 1 and Appendix A.1."""

from __future__ import annotations

from gateway.simulator import batches, files, messages
from gateway.simulator.routes import MB, Route, Table

ROWS = [
    Route("POST", "/v1/messages", messages.create, inference=True),
    Route("POST", "/v1/messages/count_tokens", messages.count),
    Route("GET", "/v1/models", messages.list_models),
    Route("GET", "/v1/models/{model}", messages.get_model),
    Route("POST", "/v1/messages/batches", batches.create, limit=256 * MB),
    Route("GET", "/v1/messages/batches", batches.list_all),
    Route("GET", "/v1/messages/batches/{batch}", batches.get),
    Route("DELETE", "/v1/messages/batches/{batch}", batches.delete),
    Route("POST", "/v1/messages/batches/{batch}/cancel", batches.cancel),
    Route("GET", "/v1/messages/batches/{batch}/results", batches.results),
    Route("POST", "/v1/files", files.upload, limit=0),
    Route("GET", "/v1/files", files.list_all),
    Route("GET", "/v1/files/{file}", files.get),
    Route("DELETE", "/v1/files/{file}", files.delete),
    Route("GET", "/v1/files/{file}/content", files.content),
]


def api_table() -> Table:
    return Table(ROWS)
