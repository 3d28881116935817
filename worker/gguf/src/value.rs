//! Values of attributes. Arrays are kept as they stand in the file, not as a value an element.

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    String(String),
    Numbers(Numbers),
    Strings(Strings),
}

/// The types of single values, by their numbers in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    U64,
    I64,
    F64,
}

/// An array of numbers or booleans.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    pub scalar: Scalar,
    /// Little-endian, one after the other.
    pub bytes: Vec<u8>,
}

/// An array of strings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Strings {
    text: String,
    ends: Vec<u32>,
}

impl Scalar {
    pub fn id(self) -> u32 {
        match self {
            Scalar::U8 => 0,
            Scalar::I8 => 1,
            Scalar::U16 => 2,
            Scalar::I16 => 3,
            Scalar::U32 => 4,
            Scalar::I32 => 5,
            Scalar::F32 => 6,
            Scalar::Bool => 7,
            Scalar::U64 => 10,
            Scalar::I64 => 11,
            Scalar::F64 => 12,
        }
    }

    pub fn from_id(id: u32) -> Option<Scalar> {
        use Scalar::*;
        let all = [U8, I8, U16, I16, U32, I32, F32, Bool, U64, I64, F64];
        all.into_iter().find(|scalar| scalar.id() == id)
    }

    pub fn bytes(self) -> usize {
        match self {
            Scalar::U8 | Scalar::I8 | Scalar::Bool => 1,
            Scalar::U16 | Scalar::I16 => 2,
            Scalar::U32 | Scalar::I32 | Scalar::F32 => 4,
            Scalar::U64 | Scalar::I64 | Scalar::F64 => 8,
        }
    }

    /// The value that `bytes` stand for; as many as [`Scalar::bytes`] says, little-endian.
    pub fn decode(self, bytes: &[u8]) -> Value {
        let mut wide = [0; 8];
        for (to, &from) in wide.iter_mut().zip(bytes) {
            *to = from;
        }
        let bits = u64::from_le_bytes(wide);
        match self {
            Scalar::U8 | Scalar::U16 | Scalar::U32 | Scalar::U64 => Value::Unsigned(bits),
            Scalar::I8 => Value::Signed((bits as i8).into()),
            Scalar::I16 => Value::Signed((bits as i16).into()),
            Scalar::I32 => Value::Signed((bits as i32).into()),
            Scalar::I64 => Value::Signed(bits as i64),
            Scalar::F32 => Value::Float(f32::from_bits(bits as u32).into()),
            Scalar::F64 => Value::Float(f64::from_bits(bits)),
            Scalar::Bool => Value::Bool(bits != 0),
        }
    }
}

impl Value {
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// A whole number of any type that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Value::Unsigned(number) => Some(*number),
            Value::Signed(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// A number of any type.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Float(number) => Some(*number),
            Value::Unsigned(number) => Some(*number as f64),
            Value::Signed(number) => Some(*number as f64),
            _ => None,
        }
    }

    pub fn as_strings(&self) -> Option<&Strings> {
        match self {
            Value::Strings(strings) => Some(strings),
            _ => None,
        }
    }

    pub fn as_numbers(&self) -> Option<&Numbers> {
        match self {
            Value::Numbers(numbers) => Some(numbers),
            _ => None,
        }
    }

    /// What it is, for messages.
    pub fn describe(&self) -> &'static str {
        match self {
            Value::Unsigned(_) | Value::Signed(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Bool(_) => "a boolean",
            Value::String(_) => "a string",
            Value::Numbers(_) => "an array of numbers",
            Value::Strings(_) => "an array of strings",
        }
    }
}

impl Numbers {
    pub fn len(&self) -> usize {
        self.bytes.len() / self.scalar.bytes()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = Value> + '_ {
        let each = self.bytes.chunks_exact(self.scalar.bytes());
        each.map(|bytes| self.scalar.decode(bytes))
    }
}

impl Strings {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)? as usize;
        let start = match index {
            0 => 0,
            _ => self.ends[index - 1] as usize,
        };
        self.text.get(start..end)
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Adds one. All together stay under 4 GB: a header is shorter.
    pub fn push(&mut self, string: &str) {
        self.text.push_str(string);
        self.ends.push(self.text.len() as u32);
    }
}

impl<'a> FromIterator<&'a str> for Strings {
    fn from_iter<I: IntoIterator<Item = &'a str>>(strings: I) -> Strings {
        let mut all = Strings::default();
        strings.into_iter().for_each(|string| all.push(string));
        all
    }
}
