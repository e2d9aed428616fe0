#!/bin/sh
# Makes clip.mp4, the stand-in for every video of the emulator:
#   sh clip_recipe.sh clip.mp4
# Nothing runs this at build or in tests; the file it made is kept beside it. Written
# for ffmpeg 5.1 with libx264 and the DejaVu fonts. Flags that keep dates and versions
# of the tool out of the container make it repeatable on one machine.
set -eu
ffmpeg -nostdin -loglevel error -y \
  -f lavfi -i "color=c=0x20304a:s=320x180:r=12:d=2" \
  -f lavfi -i "color=c=0xd08030:s=60x16:r=12:d=2" \
  -filter_complex "[0]drawtext=font='DejaVu Sans':text='STAND-IN':fontsize=34:fontcolor=white:x=(w-tw)/2:y=34,\
drawtext=font='DejaVu Sans':text='not a generated video':fontsize=20:fontcolor=white:x=(w-tw)/2:y=84[text];\
[text][1]overlay=x='20+110*t':y=136" \
  -c:v libx264 -profile:v baseline -pix_fmt yuv420p -preset veryslow -crf 30 -threads 1 \
  -movflags +faststart -fflags +bitexact -flags:v +bitexact -map_metadata -1 "$1"
