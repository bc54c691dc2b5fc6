//! Pictures as a model may see them: told by their first bytes, decoded here, scaled, PNG or JPEG.

use std::fs::{File, Metadata};
use std::io::{self, Cursor, Read as _};
use std::os::unix::fs::MetadataExt as _;

use atelier_workspace_protocol::files::FileImage;
use base64::Engine as _;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Limits};

pub(crate) const MAX_FILE_BYTES: u64 = 20 * 1024 * 1024;
const MAX_PIXELS: u64 = 50_000_000;
const MAX_EDGE: u32 = 1568;
/// Of the picture that is sent, before base64.
const MAX_SENT_BYTES: usize = 3_670_016;
/// 50 megapixels with 16 bits a channel, and what the decoder needs beside them.
const MAX_DECODER_BYTES: u64 = 640 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Png,
    Jpeg,
    Gif,
    WebP,
}

impl Format {
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Gif => "image/gif",
            Self::WebP => "image/webp",
        }
    }

    fn decoded_as(self) -> ImageFormat {
        match self {
            Self::Png => ImageFormat::Png,
            Self::Jpeg => ImageFormat::Jpeg,
            Self::Gif => ImageFormat::Gif,
            Self::WebP => ImageFormat::WebP,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{width} x {height} pixels are too many")]
    TooManyPixels { width: u32, height: u32 },
    #[error("{0}")]
    Broken(#[from] image::ImageError),
}

/// Names do not count, only the first bytes.
pub(crate) fn format_of(sample: &[u8]) -> Option<Format> {
    if sample.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some(Format::Png)
    } else if sample.starts_with(b"\xff\xd8\xff") {
        Some(Format::Jpeg)
    } else if sample.starts_with(b"GIF87a") || sample.starts_with(b"GIF89a") {
        Some(Format::Gif)
    } else if sample.starts_with(b"RIFF") && sample.get(8..12) == Some(b"WEBP") {
        Some(Format::WebP)
    } else {
        None
    }
}

pub(crate) fn read_whole(file: &mut File, metadata: &Metadata) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.size()).unwrap_or(0));
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The picture as it is sent.
pub(crate) fn shown(bytes: &[u8], format: Format) -> Result<FileImage, Fault> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format.decoded_as());
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(Fault::TooManyPixels { width, height });
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder)?;
    let is_as_sent = matches!(format, Format::Png | Format::Jpeg)
        && orientation == Orientation::NoTransforms
        && width.max(height) <= MAX_EDGE
        && bytes.len() <= MAX_SENT_BYTES;
    if is_as_sent {
        return Ok(sent(bytes, format.media_type(), (width, height), (width, height)));
    }
    picture.apply_orientation(orientation);
    let original = (picture.width(), picture.height());
    if original.0.max(original.1) > MAX_EDGE {
        picture = picture.resize(MAX_EDGE, MAX_EDGE, FilterType::Triangle);
    }
    let (encoded, media_type) = encode(&mut picture, format)?;
    Ok(sent(&encoded, media_type, (picture.width(), picture.height()), original))
}

/// Lossless where that is small enough, else JPEG, else smaller.
fn encode(picture: &mut DynamicImage, format: Format) -> Result<(Vec<u8>, &'static str), Fault> {
    if format != Format::Jpeg {
        let eight_bits = if picture.color().has_alpha() {
            DynamicImage::ImageRgba8(picture.to_rgba8())
        } else {
            DynamicImage::ImageRgb8(picture.to_rgb8())
        };
        let mut encoded = Vec::new();
        eight_bits.write_to(&mut Cursor::new(&mut encoded), ImageFormat::Png)?;
        if encoded.len() <= MAX_SENT_BYTES {
            return Ok((encoded, "image/png"));
        }
    }
    loop {
        let opaque = on_white(picture);
        for quality in [88, 70, 50] {
            let mut encoded = Vec::new();
            opaque.write_with_encoder(JpegEncoder::new_with_quality(&mut encoded, quality))?;
            if encoded.len() <= MAX_SENT_BYTES {
                return Ok((encoded, "image/jpeg"));
            }
        }
        *picture = picture.resize(picture.width() / 2, picture.height() / 2, FilterType::Triangle);
    }
}

/// JPEG knows no transparency.
fn on_white(picture: &DynamicImage) -> DynamicImage {
    if !picture.color().has_alpha() {
        return DynamicImage::ImageRgb8(picture.to_rgb8());
    }
    let mut pixels = picture.to_rgba8();
    for pixel in pixels.pixels_mut() {
        let alpha = u32::from(pixel.0[3]);
        for channel in &mut pixel.0[..3] {
            let mixed = (u32::from(*channel) * alpha + 255 * (255 - alpha)) / 255;
            *channel = u8::try_from(mixed).unwrap_or(u8::MAX);
        }
    }
    DynamicImage::ImageRgb8(DynamicImage::ImageRgba8(pixels).to_rgb8())
}

fn sent(bytes: &[u8], media_type: &str, size: (u32, u32), original: (u32, u32)) -> FileImage {
    FileImage {
        media_type: media_type.to_owned(),
        data: base64::engine::general_purpose::STANDARD.encode(bytes),
        width: size.0,
        height: size.1,
        original_width: original.0,
        original_height: original.1,
    }
}

#[cfg(test)]
mod tests {
    use image::{ImageBuffer, Luma, Rgb, Rgba};

    use super::*;

    fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Vec::new();
        picture.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
        bytes
    }

    fn decoded(sent: &FileImage) -> DynamicImage {
        let bytes = base64::engine::general_purpose::STANDARD.decode(&sent.data).unwrap();
        assert!(bytes.len() <= MAX_SENT_BYTES);
        image::load_from_memory(&bytes).unwrap()
    }

    #[test]
    fn w22_a_large_png_comes_scaled_and_a_small_one_as_it_is() {
        let large = DynamicImage::ImageLuma8(ImageBuffer::from_pixel(1600, 1200, Luma([7])));
        let sent = shown(&encoded(&large, ImageFormat::Png), Format::Png).unwrap();
        assert_eq!((sent.width, sent.height, sent.original_width, sent.original_height), (1568, 1176, 1600, 1200));
        assert_eq!(decoded(&sent).width(), 1568);

        let small = encoded(&DynamicImage::ImageRgb8(ImageBuffer::from_pixel(3, 2, Rgb([1, 2, 3]))), ImageFormat::Png);
        let sent = shown(&small, Format::Png).unwrap();
        assert_eq!(base64::engine::general_purpose::STANDARD.decode(&sent.data).unwrap(), small);
    }

    #[test]
    fn other_formats_become_png_and_noise_jpeg() {
        let picture = DynamicImage::ImageRgba8(ImageBuffer::from_pixel(4, 4, Rgba([9, 9, 9, 255])));
        for (written, format) in [(ImageFormat::Gif, Format::Gif), (ImageFormat::WebP, Format::WebP)] {
            let bytes = encoded(&picture, written);
            assert_eq!(format_of(&bytes), Some(format));
            assert_eq!(shown(&bytes, format).unwrap().media_type, "image/png");
        }
        let mut state = 1_u32;
        let noise = ImageBuffer::from_fn(1000, 1000, |_, _| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let [a, b, c, d] = state.to_be_bytes();
            Rgba([a, b, c, d])
        });
        let bytes = encoded(&DynamicImage::ImageRgba8(noise), ImageFormat::Png);
        let sent = shown(&bytes, Format::Png).unwrap();
        assert_eq!(sent.media_type, "image/jpeg");
        decoded(&sent);
    }

    #[test]
    fn too_many_pixels_and_broken_files() {
        let mut bytes = encoded(&DynamicImage::ImageLuma8(ImageBuffer::from_pixel(1, 1, Luma([7]))), ImageFormat::Png);
        assert!(matches!(shown(&bytes[..40], Format::Png), Err(Fault::Broken(_))));
        // IHDR says 20,000 x 20,000; its checksum has to be right.
        bytes[16..24].copy_from_slice(&[0, 0, 0x4e, 0x20, 0, 0, 0x4e, 0x20]);
        let crc = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.to_be_bytes());
        assert!(matches!(shown(&bytes, Format::Png), Err(Fault::TooManyPixels { width: 20_000, height: 20_000 })));
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |mut crc, byte| {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            }
            crc
        })
    }
}
