"""What stands between the network and the calls: TLS, proxies, who may connect, and open files.

Nothing here knows HTTP, WebSockets or devices.
"""
