"""IPv4 ranges."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from saltern.addresses import AddressRange


def address(last: int) -> IPv4Address:
    return IPv4Address(f"192.168.100.{last}")


def span(first: int, last: int) -> AddressRange:
    return AddressRange(address(first), address(last))


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("192.168.100.160-192.168.100.189", 160, 189),
        (" 192.168.100.160 - 192.168.100.160 ", 160, 160),
        ("192.168.100.192/27", 192, 223),
    ],
)
def test_reads_both_forms(text, first, last):
    assert AddressRange.parse(text) == span(first, last)


@pytest.mark.parametrize(
    "text", ["", "192.168.100.1", "192.168.100.9-192.168.100.8", "192.168.100.9-", "a-b", "192.168.100.1/27"]
)
def test_refuses_what_is_no_range(text):
    with pytest.raises(ValueError):
        AddressRange.parse(text)


def test_text_form_is_read_back():
    assert AddressRange.parse(str(span(5, 9))) == span(5, 9)


def test_contains_both_ends_and_nothing_beyond():
    assert [last for last in range(3, 12) if address(last) in span(5, 9)] == [5, 6, 7, 8, 9]
    assert len(span(5, 9)) == len(list(span(5, 9))) == 5


@pytest.mark.parametrize(
    ("first", "last", "touches"),
    [(1, 4, False), (1, 5, True), (6, 7, True), (9, 20, True), (10, 20, False), (1, 20, True)],
)
def test_overlap(first, last, touches):
    assert span(5, 9).overlaps(span(first, last)) is touches
    assert span(first, last).overlaps(span(5, 9)) is touches


@pytest.mark.parametrize(("first", "last", "inside"), [(1, 254, True), (0, 9, False), (9, 255, False)])
def test_inside_leaves_out_the_network_and_the_broadcast_address(first, last, inside):
    assert span(first, last).inside(IPv4Network("192.168.100.0/24")) is inside


def test_next_free_is_the_lowest_that_nobody_has():
    assert span(5, 7).next_free([address(5), address(7)]) == address(6)
    assert span(5, 7).next_free([]) == address(5)
    assert span(5, 7).next_free(list(span(5, 7))) is None
