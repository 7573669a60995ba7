"""Taking records: /track, /engage, /groups and /import."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from aiohttp import web

from gateway.config import DestinationConfig
from gateway.errors import RequestError
from gateway.events.mixpanel import FAULTS, EndpointName, NativeRecord, RequestVerdict, decode
from gateway.http.body import check_density
from gateway.ingest.context import RequestContext
from gateway.ingest.mixpanel import answers
from gateway.ingest.mixpanel.sent import Options, Sent, options_of, read
from gateway.ingest.rates import busy_status
from gateway.ingest.redirects import redirection

__all__ = ["Collect", "Import", "refuse", "refuse_import"]

_BUSY = 429  # as Mixpanel has it for /import


@dataclass(frozen=True, slots=True)
class Collect:
    """The handler of /track, /engage or /groups: a record's token says where it goes.

    :param endpoint: where the records are sent to.
    """

    endpoint: EndpointName

    async def __call__(
        self, context: RequestContext, body: bytes | None = None
    ) -> web.StreamResponse:
        """Answer when the records of a request are on disk.

        :param body: where it has been read already.
        :raises RequestError: (503) it is too slow, or there is no room for it; others for what can
            never be accepted.
        :raises SpoolUnavailable: nothing was kept.
        """
        if body is None:
            body = await _body(context, context.body)
        sent = read(_query(context), body)
        options = sent.options
        try:
            records = _records(sent, self.endpoint)
        except RequestError as error:
            _count(context, error)
            return _received(context, error.message, options)
        _admit(context, records)
        stored = context.services.accept_records(
            self.endpoint,
            records,
            client_ip=context.client_ip() if options.has("ip") else None,
            destination=None,
            hold=context.lease.resize,
        )
        # What waits for the disk is what is written there; nothing else of the request is kept.
        del body, sent, records
        return _received(context, _error(await stored), options)


class Import:
    """The handler of /import: the credentials say where the events go.

    They are those of the header; or an ``api_key`` in the query or in the form, as before Mixpanel
    had others.
    """

    async def __call__(
        self, context: RequestContext, body: bytes | None = None
    ) -> web.StreamResponse:
        """Answer when the events of a request are on disk; as for ``Collect``.

        :raises RequestError: also (401) the credentials are those of no destination.
        """
        request = context.request
        options = options_of(_query(context))
        destination = _importing(context, options)
        if destination is None and "Authorization" in request.headers:
            raise answers.unauthorized()
        rates = context.services.rates.of_project
        rate = rates.get(destination.name) if destination is not None else None
        if rate is not None:
            rate.admit(_BUSY)
        if body is None:
            body = await _body(context, context.import_body)
        sent = read(_query(context), body)
        options, is_form = sent.options, sent.is_form
        if destination is None:
            destination = _importing(context, options)
            if destination is None:
                raise answers.unauthorized()
            rate = rates.get(destination.name)
            if rate is not None:
                rate.admit(_BUSY)
        is_lines = "ndjson" in request.headers.get("Content-Type", "").lower()
        records = _records(sent, "import", is_lines=is_lines)
        if rate is not None:
            rate.charge(len(records))
        stored = context.services.accept_records(
            "import",
            records,
            client_ip=context.client_ip() if options.has("ip") else None,
            destination=destination.name,
            hold=context.lease.resize,
        )
        del body, sent, records
        verdict = await stored
        if is_form:  # older SDKs: what they send and expect is that of /track
            return _received(context, _error(verdict), options)
        if verdict.problems and options.get("strict", "1") == "1":
            return answers.partly_imported(verdict.taken, verdict.problems)
        return answers.imported(verdict.taken)


def refuse(context: RequestContext, error: RequestError) -> web.StreamResponse:
    """Turn an error into the answer that makes the SDKs do the right thing.

    They resend after 503, browsers after 413 in halves; whatever else can never be accepted is
    answered 200, because phones would resend it for ever.
    """
    try:
        options = options_of(_query(context))
    except RequestError:
        options = Options()
    if error.status >= 500:
        return _led_on(context, options) or answers.unavailable(error)
    if error.code == "incomplete_body":
        return answers.unavailable(
            RequestError(503, error.code, error.message, retry_after_s=2, close=True)
        )
    _count(context, error)
    if error.code == "body_too_large" and "Origin" in context.request.headers:
        return answers.too_large(error)
    response = _received(context, error.message, options)
    if error.close:
        response.force_close()
    return response


def refuse_import(context: RequestContext, error: RequestError) -> web.StreamResponse:
    """Turn an error into an answer of /import, which only servers use."""
    if error.status not in (401, 429, 503):
        _count(context, error)
    return answers.failed_import(error, max_bytes=context.services.config.server.import_bytes)


async def _body(context: RequestContext, read: Callable[[], Awaitable[bytes]]) -> bytes | None:
    match context.request.method:
        case "POST":
            return await read()
        case "GET":
            return None
        case _:
            raise RequestError(405, "method_not_allowed", "send records with GET or POST")


def _query(context: RequestContext) -> str:
    return context.request.rel_url.raw_query_string


def _records(sent: Sent, endpoint: EndpointName, *, is_lines: bool = False) -> list[NativeRecord]:
    if sent.error is not None:
        raise sent.error
    if sent.is_form:
        check_density(sent.data)  # the body was something else
    records = decode(sent.data, endpoint, is_lines=is_lines and not sent.is_form)
    if not records:
        raise RequestError(400, "no_records", "there are no records in it")
    return records


def _admit(context: RequestContext, records: Sequence[NativeRecord]) -> None:
    """Let records in, each by the token that it names."""
    services = context.services
    if not services.rates.of_project:
        return
    for token, count in Counter(record.token or "" for record in records).items():
        project = services.projects.of_token(token)
        rate = services.rates.of_project.get(project.name) if project is not None else None
        if rate is not None:
            rate.admit(busy_status(context.family, context.request.headers))
            rate.charge(count)


def _importing(context: RequestContext, options: Options) -> DestinationConfig | None:
    """Return the destination of a request to /import, by what it has of credentials."""
    projects, authorization = (
        context.services.projects,
        context.request.headers.get("Authorization"),
    )
    if authorization is not None:
        return projects.of_credentials(authorization, options.get("project_id"))
    return projects.of_api_key(options.get("api_key", ""))


def _received(context: RequestContext, error: str | None, options: Options) -> web.Response:
    return _led_on(context, options) or answers.received(error, options)


def _led_on(context: RequestContext, options: Options) -> web.Response | None:
    """Lead on whoever has followed a link, whatever became of the record: nobody sends it again."""
    allowed = context.services.config.server.redirect_origins
    return redirection(options.get("redirect", ""), allowed)


def _error(verdict: RequestVerdict) -> str | None:
    """Return why nothing was taken; None when something was.

    An SDK that is told 0 may send all of it again, and what was taken would come twice.
    """
    if verdict.taken:
        return None
    fault = FAULTS[verdict.problems[0].fault]
    return fault.message


def _count(context: RequestContext, error: RequestError) -> None:
    context.services.telemetry.events_rejected.labels("", error.code).inc()
