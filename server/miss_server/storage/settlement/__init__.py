"""What becomes of sends and acknowledgements, decided over loaded rows: no connection, no clock.

An engine loads what one of these objects asks for, hands it in, and writes what comes out, all
inside one transaction and in the order of the object's methods, which is that of rule C1.
"""
