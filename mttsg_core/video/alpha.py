"""Decoders for the transparency of VP8 and VP9, which FFmpeg's own decoders of these codecs leave out."""

from __future__ import annotations

from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # of the whole stream, transparency included


def decoder_of(stream: VideoStream) -> VideoCodecContext:
    """Return the decoder of a stream: its own, or for a stream with transparency one that decodes that as well.

    It is not open yet, so threads can still be chosen.
    """
    context = stream.codec_context
    is_marked = any(key.lower() == "alpha_mode" and value == "1" for key, value in stream.metadata.items())
    if context.name not in _DECODERS or not is_marked:
        return context
    try:
        decoder = CodecContext.create(_DECODERS[context.name], "r")
    except ValueError:  # this FFmpeg has only its own decoder
        return context
    if not isinstance(decoder, VideoCodecContext):
        return context
    decoder.extradata = context.extradata
    return decoder
