"""What the model knows of the cache: which answers of the origin it may still give to clients, and which it must.

The rules, for each answer that a client gets:

* it is whole, and every octet is of one answer of the origin, for this page and this variant;
* that answer was given for this request, or it may be kept, has not been purged or banned, and is within its ttl and
  grace;
* where a client has got such an answer before, which is fresh still and in a storage with room enough, the origin is
  not asked again;
* Age is the time since the origin gave or confirmed it.

Time stands still but for the steps of the model (`World.ahead`); what passes by itself is added as slack to whatever
hangs on time, so a slow machine loses precision and nothing else.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.model.asking import Answer, Ask
from tests.model.pages import Made, Page, Site, Told

_FIRST = re.compile(rb"<(\d+) ")
NO_BODY = (204, 304)


@dataclass
class Moment:
    """Where things stood before some requests were made."""

    told: int  # answers given by the origin so far
    asked: int  # requests that it got so far
    hits: tuple[bool, ...]  # for each request: it must be a hit


class Book:
    """See the module text.

    :param ahead: how far the cache's clock is ahead of the machine's
    """

    def __init__(self, site: Site, ahead: Callable[[], int]) -> None:
        self._site = site
        self._ahead = ahead
        self._began = time.monotonic()

    @property
    def slack(self) -> float:
        """Seconds by which any age may be off."""
        return time.monotonic() - self._began + 2.0

    # -- what is known ---------------------------------------------------------------------------------------------

    def _age(self, told: Told) -> int:
        return self._ahead() - told.born

    def _kept(self, page: Page, variant: str) -> list[Told]:
        """Answers that the cache may have for a page."""
        variant = variant if page.varies else ""
        return [t for t in self._site.told if t.page is page and t.variant == variant and t.cacheable and not t.dead]

    def may_give(self, told: Told) -> bool:
        """It is within ttl and grace, as far as can be told."""
        return told.cacheable and not told.dead and self._age(told) - self.slack <= told.ttl + told.plan.grace

    def must_give(self, page: Page, variant: str) -> bool:
        """Some answer for it is fresh and known to be there."""
        return any(
            told.settled and not told.unsure and page.storage == "s0" and self._age(told) + self.slack < told.ttl
            for told in self._kept(page, variant)
        )

    def _must_hit(self, ask: Ask) -> bool:
        if ask.passed or ask.method not in ("GET", "HEAD"):
            return False
        page = self._site.pages[ask.path]
        return all(self.must_give(each, ask.variant) for each in (page, *self._included(page)))

    def _included(self, page: Page) -> list[Page]:
        return [self._site.pages[path] for path in page.includes]

    def moment(self, asks: Iterable[Ask]) -> Moment:
        """To be called before these requests are made."""
        with self._site.lock:
            return Moment(len(self._site.told), self._site.asked, tuple(map(self._must_hit, asks)))

    # -- what the test does to the cache -----------------------------------------------------------------------------

    def kill(self, test: Callable[[Told], bool]) -> None:
        """Answers have been purged or banned."""
        with self._site.lock:
            for told in self._site.told:
                if test(told):
                    told.dead = True

    def kill_older(self, seconds: int) -> None:
        """What is older than that has been banned."""
        with self._site.lock:
            for told in self._site.told:
                if self._age(told) > seconds + self.slack:
                    told.dead = True
                elif self._age(told) > seconds - self.slack:
                    told.unsure = True

    def moved(self) -> None:
        """The clock was moved. What is too old now may be gone, and does not come back if the clock does."""
        with self._site.lock:
            for told in self._site.told:
                if self._age(told) + self.slack >= told.ttl:
                    told.unsure = True

    def soften(self, key: str) -> None:
        """What has that key has been made stale."""
        with self._site.lock:
            for told in self._site.told:
                if key in told.page.keys:
                    told.ttl = min(told.ttl, max(self._age(told) + self.slack, 0))
                    told.unsure = True

    # -- judging ---------------------------------------------------------------------------------------------------

    def judge(self, ask: Ask, answer: Answer, before: Moment, index: int) -> bool:
        """Raise AssertionError if it is not what the cache may answer; else whether it was stale."""
        page = self._site.pages[ask.path]
        with self._site.lock:
            since = self._site.told[before.told :]
            failing = {told.plan.fail for told in since if told.page in (page, *self._included(page))} - {""}
            if before.hits[index]:
                assert answer.serial, f"no hit: {answer}"
                assert not answer.broken, f"a broken hit: {answer}"
            if not answer.serial or answer.broken:
                excused = failing or (page.storage == "small" and answer.status == 503)
                assert excused, f"a failure without a reason: {answer}"
                return False
            told = self._told_for(ask, page, answer, since)
            self._check_body(ask, page, answer, since)
            if told.number < before.told:
                self._check_age(answer, told)
                return self._age(told) > told.ttl - self.slack
            told.settled = told.cacheable
            return False

    def _told_for(self, ask: Ask, page: Page, answer: Answer, since: list[Told]) -> Told:
        """The origin's answer that it was made of."""
        made = self._site.made[answer.serial]
        variant = ask.variant if page.varies else ""
        assert (made.path, made.variant) == (page.path, variant), f"an answer for {made.path} {made.variant}: {answer}"
        for told in since:
            if told.serial == answer.serial:
                # where its end is not asked for, it may be whole all the same
                bare = ask.method == "HEAD" or answer.status == 206
                assert bare or told.plan.fail in ("", "error"), f"a failed answer was given out as whole: {told}"
                return told
        kept = [told for told in self._kept(page, ask.variant) if told.serial == answer.serial]
        allowed = [told for told in kept if self.may_give(told)]
        assert allowed, f"not to be given any more: {[t for t in self._site.told if t.serial == answer.serial]}"
        assert not ask.passed, "a pass was answered from the cache"
        return allowed[-1]

    def _check_body(self, ask: Ask, page: Page, answer: Answer, since: list[Told]) -> None:
        made = self._site.made[answer.serial]
        if answer.status == 304:
            assert ask.etag == str(answer.serial), f"304, but asked for {ask.etag}"
        if ask.method == "HEAD" or answer.status in NO_BODY:
            assert answer.body == b"", answer
            return
        plain = answer.plain()
        assert plain is not None, f"not decodable: {answer}"
        if page.includes:
            self._check_parts(page, made, plain, ask, since)
        elif answer.status == 206:
            assert ask.range is not None and "content-encoding" not in answer.headers, answer
            assert plain == made.body[ask.range[0] : ask.range[1] + 1], "a wrong part"
        elif answer.status != 416:
            assert plain == made.body, f"a wrong body: {plain[:200]!r}, not {made.body[:200]!r}"

    def _check_parts(self, page: Page, made: Made, plain: bytes, ask: Ask, since: list[Told]) -> None:
        """A page with others in it: each of these is held to the same rules."""
        first, last = (
            f"<{made.body[1 : made.body.index(b'>')].decode()}>".encode(),
            made.body[made.body.rindex(b"</") :],
        )
        assert plain.startswith(first) and plain.endswith(last), f"a wrong page around its parts: {plain[:200]!r}"
        if any(told.page in self._included(page) and told.plan.fail for told in since):
            return  # instead of a part there is what the cache says of a failure
        place = len(first)
        for part in self._included(page):
            found = _FIRST.match(plain, place)
            assert found, f"no {part.path} at {place} in {plain[:200]!r}"
            serial = int(found[1])
            whole = self._site.made[serial].body
            assert plain.startswith(whole, place), f"a wrong part at {place} in {plain[:200]!r}"
            self._told_for(ask, part, Answer(200, {"x-serial": str(serial)}, b"", False), since)
            place += len(whole)
        assert place == len(plain) - len(last), f"too much in {plain[:200]!r}"

    def _check_age(self, answer: Answer, told: Told) -> None:
        age, expected = int(answer.headers.get("age", "0")), max(self._age(told), 0)
        assert expected - self.slack <= age <= expected + self.slack, f"Age {age}, not {expected}: {answer}"
