/// The largest message to read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The size of the whole document in bytes.
    pub bytes: usize,
    /// The number of elements below the root.
    pub elements: usize,
}

impl Limits {
    /// 64 KiB and 256 elements. A message has a few KB, its longest field 6,000 characters, and a
    /// payment with fifty coupons about 180 elements.
    pub const MESSAGE: Self = Self { bytes: 64 * 1024, elements: 256 };
}
