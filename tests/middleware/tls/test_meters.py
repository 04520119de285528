"""Who calls knows who answered, as TLS has proven it."""


async def test_who_answered_is_known_as_tls_proves_it(
    kind, serve, client, reviews, productpage, words
):
    port = await serve(reviews, kind)
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    await client(productpage, kind).call()
    (ended,) = productpage.ended
    meter = ended.record.request.meter
    assert (meter.secured, meter.server_principal) == (True, words.REVIEWS)


async def test_in_plain_text_nobody_is_known(kind, serve, client, reviews, productpage, words):
    reviews.let_in(tls=None)
    port = await serve(reviews, kind)
    productpage.lead_to(port, tls=None)
    await client(productpage, kind).call()
    (ended,) = productpage.ended
    meter = ended.record.request.meter
    assert (meter.secured, meter.server_principal) == (False, "")


async def test_who_did_not_answer_as_wanted_is_nobody(kind, serve, client, ca, productpage, words):
    server = words.Member(words.believing(ca, svid=ca.svid(words.RATINGS)))
    server.let_in(tls=words.MUTUAL)
    port = await serve(server, kind)
    productpage.lead_to(port, tls=words.mutual(words.REVIEWS))
    await client(productpage, kind).error()
    (ended,) = productpage.ended
    assert not ended.record.request.meter.server_principal
    assert not ended.record.request.meter.secured


async def test_the_version_of_tls_is_known_where_the_library_tells_it(
    serve, client, reviews, productpage, words
):
    reviews.let_in(plaintext=True)
    port = await serve(reviews, "aiohttp")
    for tls in (words.mutual(words.REVIEWS), None):
        productpage.lead_to(port, tls=tls)
        caller = client(productpage, "aiohttp")
        for _ in range(2):  # who answers the second on a connection has done with the first
            await caller.call()
    said = [ended.record.request.connection.tls_version for ended in reviews.ended]
    assert list(dict.fromkeys(said)) == ["TLSv1.3", ""]
