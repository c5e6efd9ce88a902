"""The national identity provider, as its confidential client sees it: discovery, sign-ins, tokens.

Nothing here stores or decides about accounts; `http.identity` does. Spec: 10-identity-provider.
"""
