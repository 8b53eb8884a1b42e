"""From files to signals and pictures: EEG in its formats, video, and the files beside them."""
