"""IPv4 arithmetic of the definition: ranges, what touches what, which address is free."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network


@dataclass(frozen=True, order=True)
class AddressRange:
    """Addresses from first to last, both included."""

    first: IPv4Address
    last: IPv4Address

    @classmethod
    def parse(cls, text: str) -> AddressRange:
        """Read "192.168.100.200-192.168.100.220" or "192.168.100.192/27".

        Raises:
            ValueError: neither form, or the last address lies before the first.
        """
        if "/" in text:
            network = IPv4Network(text.strip())
            return cls(network.network_address, network.broadcast_address)
        first_text, dash, last_text = text.partition("-")
        try:
            first, last = IPv4Address(first_text.strip()), IPv4Address(last_text.strip())
        except AddressValueError as err:
            raise ValueError(f"not FIRST-LAST and not a CIDR ({err})") from None
        if not dash or last < first:
            raise ValueError("the last address lies before the first")
        return cls(first, last)

    def __contains__(self, address: object) -> bool:
        return isinstance(address, IPv4Address) and self.first <= address <= self.last

    def __iter__(self) -> Iterator[IPv4Address]:
        return (IPv4Address(number) for number in range(int(self.first), int(self.last) + 1))

    def __len__(self) -> int:
        return int(self.last) - int(self.first) + 1

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def overlaps(self, other: AddressRange) -> bool:
        """Whether the two ranges share an address."""
        return self.first <= other.last and other.first <= self.last

    def inside(self, network: IPv4Network) -> bool:
        """Whether every address of the range is a host address of the network (not its first, not its broadcast)."""
        return network.network_address < self.first and self.last < network.broadcast_address

    def next_free(self, in_use: Collection[IPv4Address]) -> IPv4Address | None:
        """The lowest address of the range that is not in use, or None when all are."""
        taken = frozenset(in_use)
        return next((address for address in self if address not in taken), None)
