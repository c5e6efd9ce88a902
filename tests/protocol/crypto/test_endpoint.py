from tests.support.devices import Person, connect, read, said, write
def test_x() -> None:
    a,b=Person(),Person(); connect(a.device,b.device)
    assert said(read(b.device,a.device,write(a.device,[b.device],[a,b])))=="bonjour"
