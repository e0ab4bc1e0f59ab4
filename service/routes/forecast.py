"""`POST /v1/forecast`, for JSON and for tables."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service import columnar, json_form
from service.errors import InvalidRequest, UnsupportedMedia, pointer
from service.media import best_of, content_type
from service.openapi import FORECAST
from service.question import Answer, Question, answer
from service.schemas.forecasts import ForecastParameters
from service.state import Needs, Parts

router = APIRouter(tags=["forecasts"])

_OFFERS = (json_form.MEDIA_TYPE, columnar.ARROW, columnar.PARQUET, columnar.CSV)
_OTHER_NAMES = {"application/x-parquet": columnar.PARQUET, "application/parquet": columnar.PARQUET}
_SMALL = 256 << 10  # bytes of JSON that are read in well under 2 ms


@router.post("/v1/forecast", response_class=Response, summary="Forecast the steps after each history", **FORECAST)
async def forecast(request: Request, parts: Needs, parameters: Annotated[ForecastParameters, Query()]) -> Response:
    """Histories in, quantiles out. As JSON, or as a table `unique_id, ds, y` with the parameters in the query.

    A horizon beyond the trained one is answered with a warning.
    """
    given = content_type(request)
    given = _OTHER_NAMES.get(given, given)
    if given not in _OFFERS:
        raise UnsupportedMedia(f"the body is {given[:80]!r}; send {', '.join(_OFFERS)}")
    wanted = best_of(request.headers.get("accept", ""), sorted(_OFFERS, key=lambda offer: offer != given))
    body = await request.body()
    read: Callable[[], Question]
    if given == json_form.MEDIA_TYPE:
        _check_no_query(parameters)
        question = await _read(body, parts)
        model, read = await parts.resolver.resolve(question.model), lambda: question
    else:
        # Unpacked, a table may be a hundred times its body: so it is read where it is answered, and no more of them are
        # in memory than there are threads.
        model = await parts.resolver.resolve(parameters.model)
        read = partial(columnar.parse, given, parameters, body)
    most_points = parts.settings.max_forecast_points
    response, count = await parts.threads.run(lambda: _respond(answer(read(), model, most_points), wanted), len(body))
    parts.metrics.forecasts.labels(model.name, str(model.version.version)).inc(count)
    return response


async def _read(body: bytes, parts: Parts) -> Question:
    parse: Callable[[], Question] = partial(json_form.parse, body)
    return parse() if len(body) <= _SMALL else await parts.threads.run(parse, len(body))


def _check_no_query(parameters: ForecastParameters) -> None:
    """Parameters that would be ignored silently are a mistake."""
    if given := parameters.model_fields_set:
        message = "give it in the body: the query is for tables"
        raise InvalidRequest([{"pointer": pointer("query", name), "message": message} for name in sorted(given)])


def _respond(done: Answer, media_type: str) -> tuple[Response, int]:
    """In a forecast thread: large answers take a while to write."""
    count = len(done.forecast.ids)
    if media_type == json_form.MEDIA_TYPE:
        return Response(json_form.write(done), media_type=media_type), count
    body = columnar.write_table(media_type, done.forecast.to_table())
    return Response(body, media_type=media_type, headers=columnar.headers(done)), count
