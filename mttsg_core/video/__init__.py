"""The only reader of video files: true frame times, upright pictures, bounded memory.

    info = probe("video.mp4")                                    # what it is, or a VideoError that says what is wrong
    for chunk in sample(info, times=[0.5, 1.5], size=(224, 224)):
        chunk.indices, chunk.times, chunk.frames                 # rows of `times`, true seconds, (B, 224, 224, 3) RGB

Time 0 is the zero of the file's own timeline as FFmpeg presents it, after edit lists: a frame's time is its
presentation time stamp times the stream's time base, never an index divided by a rate. A first frame that comes late
keeps its time, also in transport streams, which often start at 1.4 s and in broadcasts hours later (`VideoInfo.start`).

`cut.cut` writes a span of a video as a file of its own.
"""

from mttsg_core.video.probe import VideoInfo, probe
from mttsg_core.video.resize import Framing, Scaling
from mttsg_core.video.sampling import READERS, FrameChunk, Sampling, sample

__all__ = ["READERS", "FrameChunk", "Framing", "Sampling", "Scaling", "VideoInfo", "probe", "sample"]
