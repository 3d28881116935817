//! Families: what each calls its tensors, and what it does differently.

/// A family's names and habits.
#[derive(Debug)]
pub struct Family {
    /// Values of `model_type`.
    pub types: &'static [&'static str],
    /// In front of every tensor's name when a head was trained with the model.
    pub prefix: &'static str,
    /// The table of tokens.
    pub words: &'static str,
    pub layers: Layers,
    /// Whether tokens have kinds ("token types").
    pub kinds: Kinds,
    /// Whether positions count from the padding token's id + 1.
    pub offset_positions: bool,
    pub relative_bias: Option<&'static str>,
    pub head: HeadNames,
}

/// How a family's layers are built.
#[derive(Debug)]
pub enum Layers {
    /// As BERT's: a norm after each residual.
    Bert(LayerNames),
    /// As ModernBERT's, under its names.
    ModernBert,
}

/// What the parts of a layer are called.
#[derive(Debug)]
pub struct LayerNames {
    /// In front of a layer's number.
    pub layers: &'static str,
    pub query: &'static str,
    pub key: &'static str,
    pub value: &'static str,
    pub out: &'static str,
    pub attention_norm: &'static str,
    pub up: &'static str,
    pub down: &'static str,
    pub output_norm: &'static str,
}

/// What a family does with the kinds of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinds {
    /// The second text of a pair has kind 1.
    OfPairs,
    /// There is a table, and every token has kind 0.
    AllZero,
    /// There is no table.
    None,
}

/// The classification head: `out(activation(dense(pooled)))`, or with a norm
/// `out(norm(activation(dense(pooled))))`.
#[derive(Debug)]
pub struct HeadNames {
    /// Under the family's prefix for BERT alone.
    pub dense: &'static str,
    /// Where the config names no other.
    pub activation: HeadActivation,
    pub norm: Option<&'static str>,
    pub out: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadActivation {
    Tanh,
    Relu,
    Gelu,
}

const BERT_LAYERS: LayerNames = LayerNames {
    layers: "encoder.layer",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    out: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    output_norm: "output.LayerNorm",
};

const BERT: Family = Family {
    types: &["bert"],
    prefix: "bert.",
    words: "word_embeddings",
    layers: Layers::Bert(BERT_LAYERS),
    kinds: Kinds::OfPairs,
    offset_positions: false,
    relative_bias: None,
    head: HeadNames {
        dense: "bert.pooler.dense",
        activation: HeadActivation::Tanh,
        norm: None,
        out: "classifier",
    },
};

/// The head of most other families.
const DENSE_AND_OUT: HeadNames = HeadNames {
    dense: "classifier.dense",
    activation: HeadActivation::Tanh,
    norm: None,
    out: "classifier.out_proj",
};

pub const FAMILIES: [Family; 6] = [
    BERT,
    Family {
        types: &["electra"],
        prefix: "electra.",
        head: HeadNames {
            activation: HeadActivation::Gelu,
            ..DENSE_AND_OUT
        },
        ..BERT
    },
    Family {
        types: &["roberta", "xlm-roberta", "camembert"],
        prefix: "roberta.",
        kinds: Kinds::AllZero,
        offset_positions: true,
        head: DENSE_AND_OUT,
        ..BERT
    },
    Family {
        types: &["distilbert"],
        prefix: "distilbert.",
        layers: Layers::Bert(LayerNames {
            layers: "transformer.layer",
            query: "attention.q_lin",
            key: "attention.k_lin",
            value: "attention.v_lin",
            out: "attention.out_lin",
            attention_norm: "sa_layer_norm",
            up: "ffn.lin1",
            down: "ffn.lin2",
            output_norm: "output_layer_norm",
        }),
        kinds: Kinds::None,
        head: HeadNames {
            dense: "pre_classifier",
            activation: HeadActivation::Relu,
            norm: None,
            out: "classifier",
        },
        ..BERT
    },
    Family {
        types: &["mpnet"],
        prefix: "mpnet.",
        layers: Layers::Bert(LayerNames {
            query: "attention.attn.q",
            key: "attention.attn.k",
            value: "attention.attn.v",
            out: "attention.attn.o",
            attention_norm: "attention.LayerNorm",
            ..BERT_LAYERS
        }),
        kinds: Kinds::None,
        offset_positions: true,
        relative_bias: Some("encoder.relative_attention_bias.weight"),
        head: DENSE_AND_OUT,
        ..BERT
    },
    Family {
        types: &["modernbert"],
        prefix: "model.",
        words: "tok_embeddings",
        layers: Layers::ModernBert,
        kinds: Kinds::None,
        head: HeadNames {
            dense: "head.dense",
            activation: HeadActivation::Gelu,
            norm: Some("head.norm"),
            out: "classifier",
        },
        ..BERT
    },
];
