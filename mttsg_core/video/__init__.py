"""Video reading: true frame times, upright pictures and bounded memory.

    from mttsg_core.video.probe import probe
    from mttsg_core.video.sampling import sample

    info = probe("video.mp4")                                    # what the file is; a VideoError says what is wrong
    for chunk in sample(info, times=[0.5, 1.5], size=(224, 224)):
        chunk.indices, chunk.times, chunk.frames                 # rows of `times`, true seconds, (B, 224, 224, 3) RGB

Time 0 is the container's start time, as for `ffmpeg -ss`, mpv and VLC, after edit lists; no time is negative. A frame's
time comes from the timestamps of the file, never from a frame index divided by a frame rate, and `timeline` is the only
place that makes seconds of them. A first frame that comes late keeps its time (`VideoInfo.start`): behind sound that
begins earlier, or on the timeline of an MP4. Joined recordings, whose clock starts again, are continued.

Modules: `probe` (what a file is), `sampling` (the frames on screen at given times) on top of the back ends `pyav` and
`decord`, `timeline` and `unfolding` (timestamps to seconds), `container` (demuxing with FFmpeg), `rotation` (display
orientation, as of phone videos), `resize` and `rgb` (frames to pictures), `tone_mapping` (high dynamic range), `alpha`
(transparency of WebM), `trim` and `mp4_writer` (excerpts), `watchdog` (stalled decoders), `discovery` (files in
folders), `identify` with `signatures` and `foreign` (what a file is by its first bytes).
"""
