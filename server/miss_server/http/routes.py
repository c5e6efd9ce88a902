"""Every path of the server but the socket's, which is `websocket.PATH`."""

from starlette.routing import BaseRoute, Route

from miss_server.http import (
    account,
    attestations,
    devices,
    directory,
    enrolment,
    identity,
    invitations,
    mailbox,
    meeting,
    operating,
    prekeys,
    recoveries,
)
from miss_server.provider.settings import CALLBACK


def routes() -> list[BaseRoute]:
    """The routes, open ones first."""
    return [
        Route("/health/live", operating.live),
        Route("/health/ready", operating.ready),
        Route("/metrics", operating.metrics),
        Route("/v1/server", enrolment.server_info),
        Route("/v1/enrolment/preview", enrolment.preview, methods=["POST"]),
        Route("/v1/enrolment", enrolment.enrol, methods=["POST"]),
        Route("/v1/identity/sign-ins", identity.open_sign_in, methods=["POST"]),
        Route("/v1/identity/renewals", identity.open_renewal, methods=["POST"]),
        Route("/v1/identity/sign-ins/begin", identity.begin, methods=["POST"]),
        Route("/v1/identity/sign-ins/status", identity.status, methods=["POST"]),
        Route("/v1/identity/sign-ins/confirm", identity.confirm, methods=["POST"]),
        Route(CALLBACK, identity.callback),
        Route("/v1/identity", identity.held),
        Route("/v1/links/preview", devices.preview, methods=["POST"]),
        Route("/v1/links/status", devices.status, methods=["POST"]),
        Route("/v1/links/invitations", devices.invite, methods=["POST"]),
        Route("/v1/links", devices.ask, methods=["POST"]),
        Route("/v1/links", devices.pending, methods=["GET"]),
        Route("/v1/rosters", devices.change_roster, methods=["POST"]),
        Route("/v1/accounts/{address}/rosters", devices.rosters),
        Route("/v1/account/notices", account.notices),
        Route("/v1/attestations", attestations.attest, methods=["POST"]),
        Route("/v1/attestations", attestations.given, methods=["GET"]),
        Route("/v1/attestations/withdraw", attestations.withdraw, methods=["POST"]),
        Route("/v1/recoveries/preview", recoveries.preview, methods=["POST"]),
        Route("/v1/recoveries", recoveries.begin, methods=["POST"]),
        Route("/v1/recoveries/veto", recoveries.veto, methods=["POST"]),
        Route("/v1/charter", devices.sign_charter, methods=["POST"]),
        Route("/v1/prekeys", prekeys.upload, methods=["POST"]),
        Route("/v1/prekeys", prekeys.count, methods=["GET"]),
        Route("/v1/prekeys/claim", prekeys.claim, methods=["POST"]),
        Route("/v1/directory", directory.search),
        Route("/v1/directory/{person}", directory.entry),
        Route("/v1/invitations", invitations.invite, methods=["POST"]),
        Route("/v1/invitations", invitations.made, methods=["GET"]),
        Route("/v1/wishes", invitations.wish, methods=["POST"]),
        Route("/v1/wishes", invitations.wishes, methods=["GET"]),
        Route("/v1/wishes/withdraw", invitations.withdraw, methods=["POST"]),
        Route("/v1/contacts", meeting.contacts, methods=["GET"]),
        Route("/v1/contacts", meeting.act, methods=["POST"]),
        Route("/v1/reach", meeting.reach, methods=["GET"]),
        Route("/v1/reach", meeting.set_reach, methods=["PUT"]),
        Route("/v1/messages", mailbox.send, methods=["POST"]),
        Route("/v1/mailbox", mailbox.fetch, methods=["POST"]),
    ]
