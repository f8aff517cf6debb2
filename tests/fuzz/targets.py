"""All targets: what reads bytes of strangers, or bytes that stood on a disk for long. One row each."""

from fuzz import codestreams, datasets, images, spool, texts, tokens, upper_layer
from fuzz.run import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("acceptor", upper_layer.conversation, upper_layer.acceptor_stream),
        Target("requestor", upper_layer.answers, upper_layer.requestor_stream),
        Target("associate", upper_layer.request, upper_layer.associate_pdu),
        Target("command", upper_layer.command, upper_layer.command_set),
        Target("head", datasets.file, datasets.head),
        Target("header", datasets.file, datasets.header),
        Target("identity", datasets.file, datasets.identity),
        Target("valid", datasets.valid, datasets.agreed),
        Target("edit", datasets.file, datasets.edit),
        Target("padding", datasets.file, datasets.padding),
        Target("draft", datasets.file, datasets.draft),
        Target("derived", datasets.file, datasets.derived),
        Target("codestream", codestreams.codestream, codestreams.claims),
        Target("fragments", codestreams.fragments, codestreams.places),
        Target("configuration", texts.document, texts.configuration),
        Target("token", tokens.token, tokens.users),
        Target("names", spool.name, spool.names),
        Target("records", spool.record, spool.records),
        Target("images", images.image, images.images, native=True, left=images.left, limited=images.limited),
    )
}
